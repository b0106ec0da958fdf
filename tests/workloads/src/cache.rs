//! Where everything that is fetched or built on the side is kept.

use std::path::PathBuf;

/// `$WEFT_CACHE`, else `$XDG_CACHE_HOME/weft`, else `~/.cache/weft`.
pub fn cache_dir() -> PathBuf {
    let variable = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    variable("WEFT_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("weft")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/weft")))
        .unwrap_or_else(|| std::env::temp_dir().join("weft-cache"))
}
