//! Removes a pool's set from GitHub, unless another client is using it.

use super::{ScaleSetPool, session::owner_in, session_file};
use crate::github::scale_set::{ScaleSetError, ScaleSets};

/// The result of a removal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Removal {
    /// The set is gone.
    Removed,
    /// There was none.
    NoSuchSet,
    /// Another client has its session, so it was not removed.
    ServedElsewhere {
        /// The owner of the session, where GitHub reports it.
        owner: Option<String>,
        /// GitHub's own words.
        says: String,
    },
}

/// Removes the set of a pool that is not being served here, with its offline runners.
///
/// Whose a set is shows by its session alone: one is opened first, after that of a killed daemon of
/// ours was closed. The service refuses while one of the set's jobs is running.
pub async fn remove(sets: &ScaleSets, pool: &ScaleSetPool) -> Result<Removal, ScaleSetError> {
    let file = pool.session_file.as_deref();
    let removal = match sets.find(&pool.group, pool.name.as_str()).await? {
        None => Removal::NoSuchSet,
        Some(set) => {
            if let Some(before) = file.and_then(session_file::read).filter(|before| before.set == set.id) {
                sets.close(set.id, &before.session).await?;
            }
            match sets.open(set.id, &pool.owner).await {
                Ok(session) => {
                    // Should what follows fail, the next one who comes can close it.
                    super::serve::save(pool, set.id, &session.id);
                    sets.close(set.id, &session.id).await?;
                    if sets.delete(&set).await? { Removal::Removed } else { Removal::NoSuchSet }
                }
                Err(ScaleSetError::Conflict { says }) => {
                    return Ok(Removal::ServedElsewhere { owner: owner_in(&says), says });
                }
                Err(ScaleSetError::NoSuchSet) => Removal::NoSuchSet,
                Err(error) => return Err(error),
            }
        }
    };
    file.into_iter().for_each(session_file::remove);
    Ok(removal)
}
