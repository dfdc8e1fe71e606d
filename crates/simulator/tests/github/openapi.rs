//! GitHub's OpenAPI descriptions as judges of requests and answers. Their folder is named by
//! `DAYFLY_OPENAPI_DIR`; they are not part of the repository.

use std::{
    collections::BTreeMap,
    env,
    io::Write as _,
    path::Path,
    sync::{Arc, Mutex},
};

use dayfly_simulator::Request;
use jsonschema::{Draft, Validator};
use serde_json::{Map, Value, json};

/// github.com's has no paths of enterprises; those of Enterprise Cloud and Server have.
const WITHOUT_ENTERPRISES: &str = "api.github.com.subset.json";
/// Only Enterprise Cloud's reports when versions of the runner are deprecated.
const WITH_DEPRECATIONS: &str = "ghec.subset.json";
const FILES: [&str; 3] = [WITHOUT_ENTERPRISES, WITH_DEPRECATIONS, "ghes-3.19.subset.json"];

/// One description.
pub(crate) struct Description {
    pub(crate) name: &'static str,
    document: Value,
    /// Compiled schemas, by their place in the document.
    validators: Mutex<BTreeMap<String, Arc<Validator>>>,
}

/// All descriptions, github.com's, Enterprise Cloud's and Enterprise Server's; `None`, with a line that says so,
/// when the environment names no folder. A folder that lacks them is a failure.
pub(crate) fn descriptions() -> Option<Vec<Description>> {
    let Some(folder) = env::var_os("DAYFLY_OPENAPI_DIR") else {
        // Not a print macro: the test harness would swallow it.
        let _ = writeln!(
            std::io::stderr(),
            "skipped: DAYFLY_OPENAPI_DIR names no folder with GitHub's OpenAPI descriptions ({})",
            FILES.join(", ")
        );
        return None;
    };
    let read = |name: &'static str| {
        let path = Path::new(&folder).join(name);
        let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut document: Value = serde_json::from_slice(&text).expect("a description is JSON");
        make_plain(&mut document);
        Description { name, document, validators: Mutex::default() }
    };
    Some(FILES.map(read).into())
}

/// Holds every request to all descriptions and panics with all that is wrong; says how many were
/// held, or `None` when there are no descriptions.
pub(crate) fn hold_requests(requests: &[Request]) -> Option<usize> {
    let descriptions = descriptions()?;
    let problems: Vec<String> = descriptions
        .iter()
        .flat_map(|description| {
            let covered = requests.iter().filter(|request| description.covers(&request.path));
            covered.filter_map(|request| description.hold_request(request).err())
        })
        .collect();
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    Some(requests.len())
}

impl Description {
    /// Whether what it describes has such paths at all.
    pub(crate) fn covers(&self, path: &str) -> bool {
        if path.contains("/runners/deprecations/") {
            return self.name == WITH_DEPRECATIONS;
        }
        self.name != WITHOUT_ENTERPRISES || !path.starts_with("/enterprises/")
    }

    /// Whether GitHub has such an operation, and takes its query and body.
    pub(crate) fn hold_request(&self, request: &Request) -> Result<(), String> {
        let Request { method, path, query, body, .. } = request;
        let at = format!("{}: {method} {path}", self.name);
        let (template, operation) =
            self.operation(method, path).ok_or_else(|| format!("{at}: there is no such operation"))?;
        let known = self.query_parameters(operation);
        for (name, value) in query {
            let schema =
                known.get(name).ok_or_else(|| format!("{at}: there is no query parameter {name}"))?;
            let integer = schema["type"] == "integer";
            if integer && value.parse::<i64>().is_err() {
                return Err(format!("{at}: query parameter {name} is no number: {value}"));
            }
        }
        let content = &operation["requestBody"]["content"]["application/json"]["schema"];
        match (content, body) {
            (Value::Null, None) => Ok(()),
            (Value::Null, Some(_)) => Err(format!("{at}: it takes no body")),
            (_, None) if operation["requestBody"]["required"] != true => Ok(()),
            (_, None) => Err(format!("{at}: it needs a body")),
            (schema, Some(body)) => self
                .validate(&format!("{method} {template} body"), schema, body)
                .map_err(|problems| format!("{at}: the body: {problems}")),
        }
    }

    /// The operation of a path, with its template. Links to further pages name organizations and
    /// repositories by number, which the descriptions do not list.
    pub(crate) fn operation(&self, method: &str, path: &str) -> Option<(&str, &Value)> {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let parts = match parts.as_slice() {
            ["organizations", number, rest @ ..] => [&["orgs", number][..], rest].concat(),
            ["repositories", number, rest @ ..] => [&["repos", number, number][..], rest].concat(),
            parts => parts.to_vec(),
        };
        let fits = |template: &str| {
            let wanted: Vec<&str> = template.split('/').skip(1).collect();
            let same = |(wanted, part): (&&str, &&str)| wanted.starts_with('{') || wanted == part;
            wanted.len() == parts.len() && wanted.iter().zip(&parts).all(same)
        };
        let paths = self.document["paths"].as_object()?.iter();
        // Of `/runners/downloads` and `/runners/{runner_id}` the literal one is meant.
        let (template, methods) = paths
            .filter(|(template, methods)| fits(template) && methods.get(method.to_lowercase()).is_some())
            .min_by_key(|(template, _)| template.matches('{').count())?;
        Some((template, &methods[method.to_lowercase()]))
    }

    fn query_parameters<'a>(&'a self, operation: &'a Value) -> BTreeMap<String, &'a Value> {
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        parameters
            .map(|parameter| self.resolved(parameter))
            .filter(|parameter| parameter["in"] == "query")
            .filter_map(|parameter| Some((parameter["name"].as_str()?.to_owned(), &parameter["schema"])))
            .collect()
    }

    /// What stands at a place in the description.
    pub(crate) fn at(&self, pointer: &str) -> Option<&Value> {
        self.document.pointer(pointer)
    }

    pub(crate) fn resolved<'a>(&'a self, value: &'a Value) -> &'a Value {
        match value["$ref"].as_str().and_then(|reference| reference.strip_prefix('#')) {
            Some(pointer) => self.at(pointer).expect("references lead somewhere"),
            None => value,
        }
    }

    pub(crate) fn validate(&self, place: &str, schema: &Value, body: &Value) -> Result<(), String> {
        let mut validators = self.validators.lock().expect("no test panics with it");
        let validator = validators.entry(place.to_owned()).or_insert_with(|| {
            let mut root = schema.as_object().cloned().unwrap_or_default();
            let schemas = self.document["components"]["schemas"].clone();
            root.insert("components".to_owned(), json!({ "schemas": schemas }));
            // OpenAPI 3.0 schemas are older than any numbered draft that is still in use; where this
            // one differs (`nullable`, siblings of `$ref`) they have been translated.
            let options = jsonschema::options().with_draft(Draft::Draft7).should_validate_formats(true);
            options.build(&Value::Object(root)).expect("a described schema is a schema").into()
        });
        let problems: Vec<String> = validator
            .iter_errors(body)
            .map(|problem| format!("{} at {}", problem, problem.instance_path()))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
    }
}

/// Turns OpenAPI 3.0's `nullable` into JSON Schema, everywhere below a value.
fn make_plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(make_plain),
        Value::Object(object) => {
            object.values_mut().for_each(make_plain);
            if object.get("nullable") == Some(&Value::Bool(true)) {
                object.remove("nullable");
                let inner = Value::Object(std::mem::take(object));
                *object = Map::from_iter([("anyOf".to_owned(), json!([inner, { "type": "null" }]))]);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
