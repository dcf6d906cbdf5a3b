//! One opinion on the special ids, where a model's files have several: the tokenizer's, for it says what
//! the ids are; where it names none, that of `config.json`, then of `generation_config.json`.

use crate::error::{Error, Result};
use crate::formats::json::Object;
use crate::text::{Special, Tokenizer};
use serde_json::Value;

/// Makes the tokenizer and both configs agree. Says every id that a config has otherwise, and what became
/// of it; ids that only one of the three knows are taken over without a word. Bad data: an id that is no
/// number, and no list of them.
pub fn agree(
    tokenizer: &mut Tokenizer,
    config: &mut Object,
    generation: &mut Object,
) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    for special in Special::ALL {
        let key = special.id_key();
        let said = [ids(config, key)?, ids(generation, key)?];
        let known = |id: &i64| u32::try_from(*id).ok().filter(|&id| tokenizer.token(id).is_some());
        let usable = said.iter().flatten().find_map(known);
        if let (None, Some(id)) = (tokenizer.special(special), usable) {
            tokenizer.set_special(special, id)?;
        }
        let resolved = tokenizer.special(special);
        for (file, ids) in [&mut *config, &mut *generation].into_iter().zip(said) {
            if ids.iter().any(|&id| Some(id) != resolved.map(i64::from)) {
                notes.push(note(file, key, &ids, resolved, tokenizer));
            }
            // Configs seldom name an unknown token, since no model looks for it.
            if file.map().contains_key(key) || (resolved.is_some() && special != Special::Unk) {
                file.set(key, resolved);
            }
        }
    }
    Ok(notes)
}

/// The ids under `key`: none, one, or a list.
fn ids(config: &Object, key: &str) -> Result<Vec<i64>> {
    let one = |value: &Value| {
        value.as_i64().ok_or_else(|| {
            let thing = format!("{}: `{key}`", config.path().display());
            Error::bad_data(thing, "an id, or a list of ids", value.to_string())
        })
    };
    match config.map().get(key) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(values)) => values.iter().map(one).collect(),
        Some(value) => Ok(vec![one(value)?]),
    }
}

fn note(
    file: &Object,
    key: &str,
    ids: &[i64],
    resolved: Option<u32>,
    tokenizer: &Tokenizer,
) -> String {
    let said = match ids {
        [one] => one.to_string(),
        several => format!("{several:?}"),
    };
    let decided = match resolved.and_then(|id| Some((id, tokenizer.token(id)?))) {
        Some((id, token)) if ids.contains(&i64::from(id)) => {
            format!("only {id} is used, {token:?}")
        }
        Some((id, token)) => format!("{id} is used, the tokenizer's {token:?}"),
        None => "no token has it, and none is used".to_string(),
    };
    format!("{}: {key} is {said}; {decided}", file.path().display())
}
