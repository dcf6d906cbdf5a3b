//! Where copla keeps what it can make again: compiled kernels, tokenised documents.

use std::path::PathBuf;

/// `$COPLA_CACHE`, or `copla` in the user's cache folder; none on a machine that has neither.
pub fn cache_dir() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("COPLA_CACHE").or_else(|| Some(user()?.join("copla")))
}
