//! What a model writes when it is given nothing: the sign of how training goes.

use crate::error::Result;
use crate::generate::{Settings, generate};
use crate::models::Model;
use crate::ops::sample::Sampler;
use crate::tensor::Parameters;
use crate::text::Tokenizer;

/// `count` texts of at most `max_new_tokens` from their beginning (the id that ends a text also
/// begins one), drawn at temperature 0.8 from the top 95 % of the probability.
pub fn write_texts(
    model: &dyn Model,
    params: &Parameters,
    tokenizer: &Tokenizer,
    count: usize,
    max_new_tokens: usize,
    seed: u64,
) -> Result<Vec<String>> {
    let settings = Settings {
        max_new_tokens,
        sampler: Sampler::new(0.8, 0, 0.95)?.below(tokenizer.vocab_size()),
        seed,
        eos: Some(tokenizer.eos()?),
        num_return_sequences: count,
    };
    let beginning = vec![tokenizer.eos()?];
    let texts = generate(model, params, &[beginning], &settings, &mut |_, _| Ok(()))?;
    texts.iter().map(|text| tokenizer.decode(text.text_ids())).collect()
}
