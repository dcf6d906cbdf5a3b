//! An evaluation against the model's own logits, one window at a time, in f64.

use super::*;
use crate::dtype::DType;
use crate::models::{Use, load};
use crate::random::philox;
use crate::tensor::Device;
use std::path::Path;

const EOS: u32 = 5;

fn model() -> (Box<dyn Model>, Parameters) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gpt2_tiny");
    load(&dir, Use::Inference, DType::F32, Device::Cpu).unwrap()
}

/// Documents of up to 89 tokens for a context of 40, empty ones included, in more than one batch.
fn ids() -> Vec<Vec<u32>> {
    let word = |i: u32, j: u32| philox(3, [i, j, 0, 0])[0];
    let document = |i| (0..word(i, 0) % 90).map(|j| word(i, j + 1) % 97).collect();
    (0..130).map(document).chain([Vec::new()]).collect()
}

fn tokens(ids: &[Vec<u32>]) -> Tokens {
    let mut tokens = Tokens::from_ids(ids, EOS);
    (tokens.chars, tokens.bytes, tokens.unknown) = (12_345, 13_579, 3);
    tokens
}

/// Σ −ln p of the targets of one window, from a pass of its own.
fn nats_alone(model: &dyn Model, params: &Parameters, inputs: &[u32], targets: &[u32]) -> f64 {
    let input = Input::rows(inputs, 1, Device::Cpu).unwrap();
    let mut pass = Pass::new(params);
    let hidden = model.hidden(&input, &mut pass).unwrap();
    let logits = model.logits(&hidden, &mut pass).unwrap().to_vec::<f32>().unwrap();
    let rows = logits.chunks(model.vocab_size()).zip(targets);
    rows.map(|(row, &target)| {
        let sum: f64 = row.iter().map(|&x| f64::from(x).exp()).sum();
        sum.ln() - f64::from(row[target as usize])
    })
    .sum()
}

#[test]
fn the_loss_is_that_of_every_window_alone() {
    let ((model, params), documents) = (model(), ids());
    let (mut nats, mut tokens) = (0.0, 0);
    for ids in &documents {
        let (inputs, targets) = ([&[EOS], &ids[..]].concat(), [&ids[..], &[EOS]].concat());
        for (inputs, targets) in inputs.chunks(40).zip(targets.chunks(40)) {
            nats += no_grad(|| nats_alone(&*model, &params, inputs, targets));
            tokens += targets.len();
        }
    }
    assert!(tokens > PLACES, "{tokens} fit one batch");
    let found = evaluate_tokenised(&*model, &params, &self::tokens(&documents)).unwrap();
    assert_eq!((found.tokens, found.chars, found.bytes), (tokens, 12_345, 13_579));
    assert_eq!(found.unknown, 3);
    let loss = nats / tokens as f64;
    assert!((found.loss - loss).abs() < 1e-5 * loss, "{} for {loss}", found.loss);
    assert!((found.perplexity() - loss.exp()).abs() < 1e-3 * loss.exp());
    let bits = nats / 2f64.ln();
    assert!((found.bits_per_char() * 12_345.0 - bits).abs() < 1e-5 * bits);
    assert!((found.bits_per_byte() * 13_579.0 - bits).abs() < 1e-5 * bits);
}

#[test]
fn a_document_is_worth_the_same_in_any_company() {
    let ((model, params), mut documents) = (model(), ids());
    let all = evaluate_tokenised(&*model, &params, &tokens(&documents)).unwrap();
    documents.reverse();
    let again = evaluate_tokenised(&*model, &params, &tokens(&documents)).unwrap();
    assert!((all.loss - again.loss).abs() < 1e-6 * all.loss, "{} {}", all.loss, again.loss);
}

#[test]
fn what_cannot_be_evaluated_is_named() {
    let (model, params) = model();
    let refused = |ids: &[Vec<u32>], eos| {
        let tokens = Tokens::from_ids(ids, eos);
        let error = evaluate_tokenised(&*model, &params, &tokens).unwrap_err();
        assert_eq!(error.kind(), Kind::BadData);
        error.to_string()
    };
    let message = refused(&[vec![1, 97]], EOS);
    assert_eq!(message, "tokenizer: expected ids below the model's 97, found 97");
    assert!(refused(&ids(), 100).ends_with("found 100"));
    assert!(refused(&[], EOS).contains("at least one document"));
}
