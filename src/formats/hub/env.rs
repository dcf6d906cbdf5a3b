//! The hub as the environment describes it, by the variables of `huggingface_hub/constants.py`.

use super::{Hub, Patience};
use crate::error::{Error, Result};
use std::path::PathBuf;

impl Hub {
    /// Reads the environment, once:
    ///
    /// - `HF_ENDPOINT`, else `https://huggingface.co`;
    /// - `HF_HUB_CACHE` or its older name `HUGGINGFACE_HUB_CACHE`, else `$HF_HOME/hub`; `HF_HOME` is
    ///   else `huggingface` in `$XDG_CACHE_HOME` or `~/.cache`;
    /// - `HF_TOKEN` or its older name `HUGGING_FACE_HUB_TOKEN`, else the file `$HF_TOKEN_PATH` or
    ///   `$HF_HOME/token`;
    /// - `HF_HUB_OFFLINE` or `TRANSFORMERS_OFFLINE`: 1, ON, YES or TRUE;
    /// - `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.
    ///
    /// An endpoint that is no address, a token that no header can hold and a machine without a home
    /// are usage errors.
    pub fn from_env() -> Result<Self> {
        let mut hub = Hub::from_variables(|name| std::env::var(name).ok())?;
        hub.proxy = ureq::Proxy::try_from_env();
        Ok(hub)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let get = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        let path = |name: &str| -> Result<Option<PathBuf>> {
            let Some(value) = get(name) else { return Ok(None) };
            match value.strip_prefix('~') {
                None => Ok(Some(value.into())),
                Some(below) => Ok(Some(home(&get)?.join(below.trim_start_matches('/')))),
            }
        };
        let home = match (path("HF_HOME")?, path("XDG_CACHE_HOME")?) {
            (Some(home), _) => home,
            (None, Some(caches)) => caches.join("huggingface"),
            (None, None) => home(&get)?.join(".cache/huggingface"),
        };
        let cache = match path("HF_HUB_CACHE")? {
            Some(cache) => cache,
            None => path("HUGGINGFACE_HUB_CACHE")?.unwrap_or_else(|| home.join("hub")),
        };
        let token = match get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")) {
            Some(token) => Some(token),
            // Without the file there is no token, which most people need not have.
            None => {
                let file = path("HF_TOKEN_PATH")?.unwrap_or_else(|| home.join("token"));
                std::fs::read_to_string(file).ok()
            }
        };
        let token = token.map(|token| token.trim().to_string()).filter(|token| !token.is_empty());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            return Err(Error::usage("HF_TOKEN", "letters, digits and signs", "something else"));
        }
        let endpoint = get("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_string());
        if !endpoint.starts_with("https://") && !endpoint.starts_with("http://") {
            return Err(Error::usage(
                "HF_ENDPOINT",
                "an address that begins with https://",
                endpoint,
            ));
        }
        let is_on = |name| {
            let value = get(name).unwrap_or_default().to_uppercase();
            ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
        };
        Ok(Hub {
            endpoint: endpoint.trim_end_matches('/').to_string(),
            cache,
            token,
            offline: is_on("HF_HUB_OFFLINE") || is_on("TRANSFORMERS_OFFLINE"),
            proxy: None,
            patience: Patience::default(),
        })
    }
}

fn home(get: &impl Fn(&str) -> Option<String>) -> Result<PathBuf> {
    let missing = || Error::usage("HOME", "a directory for the cache, or HF_HOME", "neither");
    get("HOME").map(PathBuf::from).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn hub(variables: &[(&str, &str)]) -> Result<Hub> {
        Hub::from_variables(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.to_string())
        })
    }

    #[test]
    fn the_cache_is_where_huggingface_hub_has_it() {
        for (variables, cache) in [
            (&[][..], "/h/.cache/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x")], "/x/huggingface/hub"),
            (&[("XDG_CACHE_HOME", "/x"), ("HF_HOME", "~/hf")], "/h/hf/hub"),
            (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/old")], "/old"),
            (&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")], "/new"),
            (&[("HF_HUB_CACHE", "")], "/h/.cache/huggingface/hub"),
        ] {
            let hub = hub(&[variables, &[("HOME", "/h")]].concat()).unwrap();
            assert_eq!(hub.cache, Path::new(cache), "{variables:?}");
        }
        let error = hub(&[]).err().unwrap().to_string();
        assert!(error.contains("HOME") && error.contains("HF_HOME"), "{error}");
        assert!(hub(&[("HF_HOME", "/hf")]).is_ok());
    }

    #[test]
    fn endpoint_and_offline_are_read() {
        let home = ("HF_HOME", "/hf");
        let usual = hub(&[home]).unwrap();
        assert_eq!((usual.endpoint.as_str(), usual.offline), ("https://huggingface.co", false));
        let mirror = hub(&[home, ("HF_ENDPOINT", "http://localhost:1/")]).unwrap();
        assert_eq!(mirror.endpoint, "http://localhost:1");
        assert!(hub(&[home, ("HF_ENDPOINT", "localhost")]).is_err());
        for (value, offline) in
            [("1", true), ("on", true), ("True", true), ("0", false), ("", false)]
        {
            assert_eq!(
                hub(&[home, ("HF_HUB_OFFLINE", value)]).unwrap().offline,
                offline,
                "{value}"
            );
        }
    }

    #[test]
    fn the_token_is_the_variables_or_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().to_str().unwrap();
        let home = ("HF_HOME", at);
        assert_eq!(hub(&[home]).unwrap().token, None);
        std::fs::write(dir.path().join("token"), "hf_file\n").unwrap();
        assert_eq!(hub(&[home]).unwrap().token.as_deref(), Some("hf_file"));
        let variable = hub(&[home, ("HF_TOKEN", "hf_variable")]).unwrap();
        assert_eq!(variable.token.as_deref(), Some("hf_variable"));
        let other = dir.path().join("other");
        std::fs::write(&other, "hf_other").unwrap();
        let other = hub(&[home, ("HF_TOKEN_PATH", other.to_str().unwrap())]).unwrap();
        assert_eq!(other.token.as_deref(), Some("hf_other"));
        let error = hub(&[home, ("HF_TOKEN", "hf_a\r\nHost: b")]).err().unwrap().to_string();
        assert!(!error.contains("hf_a"), "{error}");
    }
}
