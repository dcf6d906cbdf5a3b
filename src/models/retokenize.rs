//! A new vocabulary for a model that writes already: what it knows of the old pieces is where each new
//! token begins.
//!
//! Minixhofer et al., "WECHSEL" (2022), and Gee et al., "Fast Vocabulary Transfer" (2022), find that the
//! mean of the old pieces of a new token is a far better start than chance.

use crate::error::Result;
use crate::formats::json::Object;
use crate::models::load::from_object;
use crate::models::pretrained::mean_row;
use crate::models::{Pretrained, Use, special_ids};
use crate::text::{Special, Tokenizer};
use rayon::prelude::*;
use serde_json::{Map, Value};
use std::fmt;

/// What the tokens of a new vocabulary began as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retokenized {
    /// Tokens of the old vocabulary, and of the new one.
    pub old: usize,
    pub new: usize,
    /// Of the new ones, those that were there: the same bytes, or the same special token by its role.
    pub same: usize,
    /// Those that began as the mean of several old pieces, and how many pieces that were in all.
    pub means: usize,
    pub pieces: usize,
    /// Those that no old pieces make up: new special tokens, and what the old vocabulary cannot spell.
    pub without: usize,
}

impl fmt::Display for Retokenized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Retokenized { old, new, same, means, pieces, without } = *self;
        let mean = pieces as f64 / means.max(1) as f64;
        write!(
            f,
            "vocabulary: {new} tokens in place of {old}; {same} were there, {means} begin as the mean of \
             {mean:.2} old pieces on average, {without} as the mean of all"
        )
    }
}

/// Which special token a new one is taken for, where one has several roles.
const ROLES: [Special; 4] = [Special::Eos, Special::Bos, Special::Pad, Special::Unk];

/// What speaks of ids, besides the special ones, in `generation_config.json` and older `config.json`.
const OF_IDS: [&str; 6] = [
    "bad_words_ids",
    "force_words_ids",
    "forced_decoder_ids",
    "sequence_bias",
    "suppress_tokens",
    "begin_suppress_tokens",
];

impl Pretrained {
    /// The model with another vocabulary: its parameters are as they were, but for the rows of tokens. A
    /// token that was there keeps its row; one that has a role (end of text, begin, padding, unknown) has
    /// the row of the old one of that role; any other begins as the mean, summed in f64, of the old pieces
    /// that its bytes are cut into, and where there are none as the mean of the old tokens' rows. The
    /// special ids are the new tokenizer's alone.
    ///
    /// Holds both vocabularies' parameters for a while. Bad data: the model has no tokenizer, or the new
    /// one has no end of text.
    pub fn retokenize(mut self, mut new: Tokenizer, wanted: Use) -> Result<(Self, Retokenized)> {
        let old = self.take_tokenizer()?;
        new.eos()?;
        let mut config = Object::new("config.json", without_ids(self.model.config()));
        let mut generation = Object::new("generation_config.json", without_ids(self.generation));
        special_ids::agree(&mut new, &mut config, &mut generation)?;
        config.set("vocab_size", new.vocab_size());
        let model = from_object(&config)?;
        let layout = wanted.of(model.layout()?);
        let mut params = layout.build(self.params.dtype(), self.params.device())?;

        let ids = 0..new.vocab_size() as u32;
        let origins: Vec<Vec<u32>> =
            ids.into_par_iter().map(|id| origin(id, &new, &old)).collect::<Result<_>>()?;
        let tables = model.token_tables();
        let all: Vec<_> = params.segments().map(|(param, _)| param).collect();
        for param in all {
            let values: Vec<f32> = self.params.get(param).to_vec()?;
            if tables.contains(&param) {
                let width = params.segment(param).shape.last_dim();
                let known = &values[..old.vocab_size() * width];
                let mean = mean_row(known, old.vocab_size());
                let rows = origins.par_iter().flat_map_iter(|rows| match &rows[..] {
                    [] => mean.clone(),
                    rows => mean_of(known, width, rows),
                });
                params.set(param, &rows.collect::<Vec<f32>>())?;
            } else {
                params.set(param, &values)?;
            }
        }
        let count =
            |fits: fn(usize) -> bool| origins.iter().filter(|rows| fits(rows.len())).count();
        let told = Retokenized {
            old: old.vocab_size(),
            new: new.vocab_size(),
            same: count(|pieces| pieces == 1),
            means: count(|pieces| pieces > 1),
            pieces: origins.iter().map(Vec::len).filter(|&pieces| pieces > 1).sum(),
            without: count(|pieces| pieces == 0),
        };
        let generation = generation.into_map();
        Ok((Pretrained { model, params, tokenizer: Some(new), generation, ..self }, told))
    }
}

/// A config without the ids of a vocabulary that is no more, and without its tokenizer's class.
fn without_ids(mut config: Map<String, Value>) -> Map<String, Value> {
    config.retain(|key, _| {
        !key.ends_with("token_id") && !OF_IDS.contains(&key.as_str()) && key != "tokenizer_class"
    });
    config
}

/// The old tokens whose rows make up that of the new token `id`; none where nothing is known of it.
fn origin(id: u32, new: &Tokenizer, old: &Tokenizer) -> Result<Vec<u32>> {
    let roles = ROLES.into_iter().filter(|&role| new.special(role) == Some(id));
    if let Some(row) = roles.filter_map(|role| old.special(role)).next() {
        return Ok(vec![row]);
    }
    let (Some(token), Some(bytes)) = (new.token(id), new.bytes(id)?) else {
        return Ok(Vec::new());
    };
    if new.is_added(id) {
        // No text is cut into it: its letters say nothing of it.
        return Ok(old.id(&token).filter(|&id| old.is_added(id)).into_iter().collect());
    }
    Ok(old.encode_bytes(&bytes)?.unwrap_or_default())
}

/// The mean of these rows of [old tokens, `width`], summed in f64.
fn mean_of(values: &[f32], width: usize, rows: &[u32]) -> Vec<f32> {
    let row = |&row: &u32| &values[row as usize * width..][..width];
    mean_row(&rows.iter().flat_map(row).copied().collect::<Vec<f32>>(), rows.len())
}
