//! The promise: a text is what `transformers` would write, and it depends on nothing but its prompt,
//! the settings and the seed: not on the cache, the batch or the number of threads.

use copla::generate::{FinishReason, Generated, Settings, generate};
use copla::models::{self, Input, Model, Use};
use copla::nn::Pass;
use copla::ops::sample::Sampler;
use copla::{DType, Device, Kind, Parameters, Tensor, no_grad};
use golden::FAMILIES;
use std::path::Path;

mod golden;

fn tiny(family: &str) -> (Box<dyn Model>, Parameters) {
    models::load(&golden::dir(family), Use::Inference, DType::F32, Device::Cpu).unwrap()
}

/// Ids that `transformers` was given or wrote: [rows, time].
fn expected_ids(family: &str, key: &str) -> Vec<Vec<u32>> {
    ids_in(&golden::dir(family).join("expected.safetensors"), key)
}

fn ids_in(path: &Path, key: &str) -> Vec<Vec<u32>> {
    let bytes = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let ids = file.tensor(key).unwrap();
    let word = |b: &[u8]| u32::from_le_bytes(b.try_into().unwrap());
    let ids_of = |row: &[u8]| row.chunks_exact(4).map(word).collect();
    ids.data().chunks_exact(4 * ids.shape()[1]).map(ids_of).collect()
}

/// Prompts of several lengths, and the longest among them not the first.
fn prompts() -> Vec<Vec<u32>> {
    let ids = expected_ids("gpt2", "token_ids");
    vec![ids[0][..7].to_vec(), ids[1][..12].to_vec(), ids[0][..1].to_vec(), ids[1][3..8].to_vec()]
}

const GREEDY: Settings = Settings {
    max_new_tokens: 16,
    sampler: Sampler::GREEDY,
    seed: 0,
    eos: None,
    num_return_sequences: 1,
};

fn sampled() -> Settings {
    Settings { sampler: Sampler::new(1.5, 60, 0.98).unwrap(), seed: 7, ..GREEDY }
}

fn texts(family: &str, prompts: &[Vec<u32>], settings: &Settings) -> Vec<Generated> {
    let (model, params) = tiny(family);
    generate(&*model, &params, prompts, settings, &mut |_, _| Ok(())).unwrap()
}

/// What GPT-2 writes.
fn ids(prompts: &[Vec<u32>], settings: &Settings) -> Vec<Vec<u32>> {
    ids_of("gpt2", prompts, settings)
}

fn ids_of(family: &str, prompts: &[Vec<u32>], settings: &Settings) -> Vec<Vec<u32>> {
    texts(family, prompts, settings).into_iter().map(|text| text.token_ids).collect()
}

#[test]
fn greedy_text_is_that_of_transformers() {
    for family in FAMILIES {
        let rows = expected_ids(family, "token_ids");
        let prompts: Vec<_> = rows.iter().map(|row| row[..7].to_vec()).collect();
        assert_eq!(ids_of(family, &prompts, &GREEDY), expected_ids(family, "greedy"), "{family}");
    }
}

/// Texts up to the end of the context that a wrong window or a scaled score would change, even where
/// only the cache has it wrong.
#[test]
fn the_window_and_the_scale_hold_to_the_end() {
    let path = golden::dir("gpt_neo").join("expected_greedy.safetensors");
    let [prompts, expected] = ["prompts", "greedy"].map(|key| ids_in(&path, key));
    let settings = Settings { max_new_tokens: expected[0].len(), ..GREEDY };
    assert_eq!(ids_of("gpt_neo", &prompts, &settings), expected);
}

#[test]
fn with_the_cache_it_is_the_text_without() {
    for family in FAMILIES {
        let (model, params) = tiny(family);
        for prompt in prompts() {
            let mut text = prompt.clone();
            for _ in 0..GREEDY.max_new_tokens {
                let logits = all_logits(&*model, &params, &text);
                let last = logits.chunks_exact(model.vocab_size()).last().unwrap();
                let best = (0..last.len()).max_by(|&a, &b| last[a].total_cmp(&last[b])).unwrap();
                text.push(best as u32);
            }
            let cached = ids_of(family, std::slice::from_ref(&prompt), &GREEDY);
            assert_eq!(cached[0], text[prompt.len()..], "{family}");
        }
    }
}

/// The logits of every place of one text, [time, vocab], computed anew.
fn all_logits(model: &dyn Model, params: &Parameters, text: &[u32]) -> Vec<f32> {
    let input = Input::rows(text, 1, Device::Cpu).unwrap();
    let mut pass = Pass::new(params);
    let logits = no_grad(|| {
        let hidden = model.hidden(&input, &mut pass)?;
        model.logits(&hidden, &mut pass)
    });
    logits.unwrap().to_vec().unwrap()
}

#[test]
fn a_batch_is_its_rows_one_by_one() {
    for (family, settings) in FAMILIES.iter().flat_map(|f| [(f, GREEDY), (f, sampled())]) {
        let together = ids_of(family, &prompts(), &settings);
        for (prompt, text) in prompts().into_iter().zip(together) {
            assert_eq!(ids_of(family, &[prompt], &settings)[0], text, "{family}");
        }
    }
}

#[test]
fn the_logits_of_padded_rows_are_those_of_the_rows_alone() {
    FAMILIES.iter().for_each(|family| padded_rows_are_those_alone(family));
}

fn padded_rows_are_those_alone(family: &str) {
    let (model, params) = tiny(family);
    let (short, long) = (&prompts()[3], &prompts()[1]);
    let padding = long.len() - short.len();
    let tensor = |a: Vec<u32>, b: Vec<u32>| {
        Tensor::from_slice(&[a, b].concat(), &[2, long.len()], Device::Cpu).unwrap()
    };
    let counting = |n: usize| (0..n as u32).collect::<Vec<_>>();
    let first_key = |i: u32| i.min(padding as u32);
    let input = Input {
        tokens: tensor([vec![0; padding], short.clone()].concat(), long.clone()),
        positions: tensor([vec![0; padding], counting(short.len())].concat(), counting(long.len())),
        first_key: tensor(
            counting(long.len()).into_iter().map(first_key).collect(),
            vec![0; long.len()],
        ),
    };
    let mut state = model.new_state(2, long.len(), &params).unwrap();
    let mut pass = Pass { state: Some(&mut state), ..Pass::new(&params) };
    let hidden = no_grad(|| model.hidden(&input, &mut pass)).unwrap();
    let together: Vec<f32> =
        no_grad(|| model.logits(&hidden, &mut pass)).unwrap().to_vec().unwrap();
    let (first, second) = together.split_at(long.len() * model.vocab_size());
    for (row, text) in [(first, short), (second, long)] {
        let alone = all_logits(&*model, &params, text);
        let row = &row[row.len() - alone.len()..];
        let largest = row.iter().zip(&alone).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < 1e-5, "{family}: {largest}");
    }
}

#[test]
fn the_seed_alone_decides() {
    let with_threads = |threads, settings: &Settings| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| ids(&prompts(), settings))
    };
    let settings = Settings { num_return_sequences: 3, ..sampled() };
    let three = with_threads(1, &settings);
    assert_eq!(three, with_threads(2, &settings));
    assert_eq!(three.len(), 12);
    // The continuations of a prompt follow one another and differ; there may be more or fewer.
    let one = ids(&prompts(), &sampled());
    let firsts: Vec<_> = three.iter().step_by(3).cloned().collect();
    assert_eq!(firsts, one);
    assert!(three[0] != three[1] && three[1] != three[2] && three[0] != three[2]);
    assert_ne!(ids(&prompts(), &Settings { seed: 8, ..sampled() }), one);
}

#[test]
fn a_text_ends_at_its_end_or_at_its_length() {
    let endless = &ids(&prompts()[..1], &GREEDY)[0];
    // The token that greedy text first repeats nothing before: any that comes at place 5 will do.
    let eos = endless[5];
    let end = endless.iter().position(|&id| id == eos).unwrap();
    let settings = Settings { eos: Some(eos), ..GREEDY };
    let mut seen = Vec::new();
    let (model, params) = tiny("gpt2");
    let texts = generate(&*model, &params, &prompts()[..2], &settings, &mut |sequence, id| {
        seen.push((sequence, id));
        Ok(())
    });
    let texts = texts.unwrap();
    assert_eq!(texts[0].token_ids, endless[..=end]);
    assert_eq!(texts[0].text_ids(), &endless[..end]);
    assert_eq!(texts[0].finish_reason, FinishReason::Stop);
    // The other row goes on undisturbed, and every token was seen once, in order.
    assert_eq!(texts[1], self::texts("gpt2", &prompts()[1..2], &settings)[0]);
    for (sequence, text) in texts.iter().enumerate() {
        let of_text: Vec<u32> =
            seen.iter().filter(|one| one.0 == sequence).map(|one| one.1).collect();
        assert_eq!(of_text, text.token_ids);
    }
}

#[test]
fn the_context_is_the_limit() {
    let (model, params) = tiny("gpt2");
    let context = model.context().unwrap();
    let settings = Settings { max_new_tokens: usize::MAX, ..GREEDY };
    let full: Vec<u32> = (0..context as u32).collect();
    let batch = [prompts()[0].clone(), full.clone(), full[..39].to_vec()];
    let texts = texts("gpt2", &batch, &settings);
    for (prompt, text) in batch.iter().zip(&texts) {
        assert_eq!(prompt.len() + text.token_ids.len(), context);
        assert_eq!(text.finish_reason, FinishReason::Length);
    }
    let error = |prompt: Vec<u32>, settings: &Settings| {
        generate(&*model, &params, &[prompt], settings, &mut |_, _| Ok(())).unwrap_err()
    };
    let too_long = error(vec![1; context + 1], &GREEDY);
    assert_eq!(too_long.kind(), Kind::Usage);
    let line = too_long.to_string();
    assert_eq!(line, "prompt: expected 1 to 40 tokens, the model's context, found 41");
    assert_eq!(error(Vec::new(), &GREEDY).kind(), Kind::Usage);
    assert_eq!(error(vec![97], &GREEDY).kind(), Kind::BadData);
    for settings in [
        Settings { max_new_tokens: 0, ..GREEDY },
        Settings { num_return_sequences: 0, ..GREEDY },
        Settings { num_return_sequences: usize::MAX, ..GREEDY },
    ] {
        assert_eq!(error(vec![1], &settings).kind(), Kind::Usage);
    }
}
