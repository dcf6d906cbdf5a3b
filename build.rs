//! Tells the binary which commit it was built from (`copla --version`).

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=.git/HEAD");
    let commit = Command::new("git")
        .args(["rev-parse", "--short", "HEAD"])
        .output()
        .ok()
        .filter(|run| run.status.success())
        .and_then(|run| String::from_utf8(run.stdout).ok());
    let commit = commit.as_deref().map_or("no commit", str::trim);
    println!("cargo::rustc-env=COPLA_COMMIT={commit}");
}
