//! An image for runners that are not root, with what setup containers of caches run.

use bollard::Docker;

use crate::shell_image::{import_changed, root_with};

/// The two empty blocks that end an archive.
const END: usize = 1024;

/// Makes the image `name:tag`: the one with a shell, with more programs in `/bin`, and with the user `runner` (1001),
/// whose home is `/home/runner`.
pub(crate) async fn import(docker: &Docker, name: &str, tag: &str, programs: &[&str]) {
    let mut root = root_with(programs, &[]);
    root.truncate(root.len() - END);
    let mut more = tar::Builder::new(Vec::new());
    let users = b"root:x:0:0::/:/bin/sh\nrunner:x:1001:1001::/home/runner:/bin/sh\n";
    let mut header = tar::Header::new_gnu();
    header.set_mode(0o644);
    header.set_size(users.len() as u64);
    more.append_data(&mut header, "etc/passwd", &users[..]).expect("memory can be written to");
    root.extend(more.into_inner().expect("memory can be written to"));
    import_changed(docker, name, tag, root, "USER runner").await;
}
