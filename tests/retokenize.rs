//! The promise: with a new vocabulary a model begins where the old one was: a token that was there keeps
//! its row to the bit, any other is the mean of its old pieces, and all else is as it was.

use copla::models::decoder::{DropoutShares, Options};
use copla::models::{
    Model, Pretrained, Retokenized, Use, bloom::Bloom, char_lstm, char_lstm::CharLstm, gpt2::Gpt2,
};
use copla::ops::adamw::AdamW;
use copla::ops::linear::Activation;
use copla::text::{BpeOptions, Packing, Special, Tokenizer, embedded, split};
use copla::train::{Data, DataOptions, Decay, Schedule, Trainer, Vocabulary};
use copla::{DType, Device, Kind, Param, Parameters, models};
use serde_json::{Map, Value, json};
use std::path::Path;

const OLD: &str = "La niña pequeña sueña con la mañana, y la mañana sueña con la niña pequeña.";
const NEW: &str = "El corazón canta: ¡corazón! La mañana canta con el corazón, y la niña 🌙 🌙 canta; la \
    mañana y la niña sueñan con la niña y la mañana.";

fn bpe(text: &str, vocab_size: usize, special: &[&str]) -> Tokenizer {
    let special_tokens = special.iter().map(|token| token.to_string()).collect();
    let options = BpeOptions { special_tokens, ..BpeOptions::new(vocab_size) };
    Tokenizer::train_bpe(&[text], &options).unwrap()
}

fn new() -> Tokenizer {
    bpe(NEW, 300, &["<pad>", "<mask>"])
}

fn model(family: &str, vocab: usize, tied: bool) -> Box<dyn Model> {
    let options = Options {
        vocab,
        context: 24,
        width: 16,
        layers: 1,
        heads: 2,
        mlp_width: 64,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares::default(),
        window: None,
        tied,
    };
    match family {
        "gpt2" => Box::new(Gpt2::new(options, Some(0)).unwrap()),
        "bloom" => Box::new(Bloom::new(options, Some(0)).unwrap()),
        _ => {
            let sizes = char_lstm::Options { hidden: 12, embedding: 8, ..char_lstm::preset(vocab) };
            Box::new(CharLstm::new(sizes, Some(0)).unwrap())
        }
    }
}

/// A model of random weights that reads with `tokenizer`; its embedding has `more` rows than tokens.
fn write(dir: &Path, family: &str, tied: bool, tokenizer: &Tokenizer, more: usize) {
    let model = model(family, tokenizer.vocab_size() + more, tied);
    let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 3).unwrap();
    models::save(dir, &*model, &params).unwrap();
    tokenizer.save(dir).unwrap();
}

fn open(dir: &Path) -> Pretrained {
    Pretrained::load(dir, Use::Training, DType::F32, Device::Cpu).unwrap()
}

fn rows(params: &Parameters, table: Param) -> Vec<Vec<f32>> {
    let width = params.segment(table).shape.last_dim();
    let values: Vec<f32> = params.get(table).to_vec().unwrap();
    values.chunks(width).map(<[f32]>::to_vec).collect()
}

fn mean(rows: &[&Vec<f32>]) -> Vec<f64> {
    let sum = |i: usize| rows.iter().map(|row| f64::from(row[i])).sum::<f64>();
    (0..rows[0].len()).map(|i| sum(i) / rows.len() as f64).collect()
}

fn is_near(row: &[f32], mean: &[f64]) -> bool {
    row.iter().zip(mean).all(|(x, mean)| (f64::from(*x) - mean).abs() < 1e-6)
}

/// Retokenizes the model in `dir` and holds every row against the old ones; what became of them.
fn holds(dir: &Path, new: impl Fn() -> Tokenizer) -> (Pretrained, Retokenized) {
    let before = open(dir);
    let (after, told) = open(dir).retokenize(new(), Use::Training).unwrap();
    let (old, new) = (before.tokenizer().unwrap(), after.tokenizer().unwrap());
    assert_eq!(after.model.vocab_size(), new.vocab_size());
    let tables = after.model.token_tables();
    assert_eq!(tables, before.model.token_tables());
    for (param, segment) in before.params.segments() {
        if !tables.contains(&param) {
            let values = |params: &Parameters| params.get(param).to_vec::<f32>().unwrap();
            assert!(values(&before.params) == values(&after.params), "{}", segment.name);
            continue;
        }
        let [a, b] = [&before, &after].map(|of| rows(&of.params, param));
        assert_eq!(b.len(), new.vocab_size());
        let all = mean(&a[..old.vocab_size()].iter().collect::<Vec<_>>());
        let (mut same, mut means, mut without) = (0, 0, 0);
        for (id, row) in b.iter().enumerate().filter(|(id, _)| !new.is_added(*id as u32)) {
            // By text, where there is one, and not by the bytes that are under test.
            let text = new.decode(&[id as u32]).unwrap();
            let pieces = match text.contains('\u{fffd}') {
                true => continue,
                false => old.encode(&text).unwrap(),
            };
            let unknown = old.special(Special::Unk).filter(|&unk| unk != old.eos().unwrap());
            match &pieces[..] {
                pieces if pieces.iter().any(|&id| Some(id) == unknown) => {
                    assert!(is_near(row, &all), "{text:?}");
                    without += 1;
                }
                &[one] => {
                    assert!(*row == a[one as usize], "{text:?}");
                    same += 1;
                }
                pieces => {
                    let pieces: Vec<_> = pieces.iter().map(|&id| &a[id as usize]).collect();
                    assert!(is_near(row, &mean(&pieces)), "{text:?}");
                    means += 1;
                }
            }
        }
        assert!(same > 5 && means + without > 5, "{same} {means} {without}");
        // The end of text, whatever it was called.
        assert!(b[new.eos().unwrap() as usize] == a[old.eos().unwrap() as usize]);
        assert!(told.same >= same && told.means >= means && told.without >= without, "{told}");
        assert_eq!(told.same + told.means + told.without, new.vocab_size());
    }
    (after, told)
}

#[test]
fn rows_begin_as_what_their_tokens_were() {
    for (family, tied) in [("gpt2", true), ("gpt2", false), ("bloom", true)] {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), family, tied, &bpe(OLD, 290, &["<mask>"]), 7);
        let (after, told) = holds(home.path(), new);
        // <|endoftext|>, <mask>, 256 bytes and what both learnt; of <pad> the old one knew nothing.
        assert!(told.same > 262 && told.means > 10 && told.without == 1, "{told}");
        assert!(told.pieces >= 2 * told.means, "{told}");
        let [a, b] =
            [&open(home.path()), &after].map(|of| rows(&of.params, of.model.token_tables()[0]));
        let tokenizer = after.tokenizer().unwrap();
        assert!(b[tokenizer.id("<mask>").unwrap() as usize] == a[1]);
        // Half a moon is no text, and yet as many bytes.
        let halves: Vec<u32> = (0..tokenizer.vocab_size() as u32)
            .filter(|&id| {
                let bytes = tokenizer.bytes(id).unwrap().unwrap();
                bytes.len() > 1 && std::str::from_utf8(&bytes).is_err()
            })
            .collect();
        assert!(!halves.is_empty());
        for id in halves {
            let bytes = tokenizer.bytes(id).unwrap().unwrap();
            let old = open(home.path());
            let byte = |&byte: &u8| {
                &a[old.tokenizer().unwrap().encode_bytes(&[byte]).unwrap().unwrap()[0] as usize]
            };
            let pieces: Vec<_> = bytes.iter().map(byte).collect();
            assert!(is_near(&b[id as usize], &mean(&pieces)), "{bytes:x?}");
        }
    }
}

#[test]
fn characters_and_pieces_become_each_other() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "char-lstm", false, &Tokenizer::train_chars(&[OLD]).unwrap(), 0);
    let (_, told) = holds(home.path(), new);
    // No half of a character is known to characters, nor is the moon.
    assert!(told.without > 100 && told.means > 8 && told.same > 15, "{told}");
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "gpt2", true, &bpe(OLD, 290, &[]), 0);
    let characters = || Tokenizer::train_chars(&[NEW]).unwrap();
    let (after, told) = open(home.path()).retokenize(characters(), Use::Inference).unwrap();
    assert_eq!((told.without, told.new), (0, after.model.vocab_size()));
}

/// The very tokenizer that the model has changes nothing, though it has as many rows to be looked at.
#[test]
fn the_same_vocabulary_is_the_same_model() {
    let home = tempfile::tempdir().unwrap();
    let tokenizer = || bpe(OLD, 290, &["<pad>"]);
    write(home.path(), "gpt2", false, &tokenizer(), 0);
    let (after, told) = open(home.path()).retokenize(tokenizer(), Use::Training).unwrap();
    assert_eq!((told.same, told.means, told.without), (told.new, 0, 0));
    for (param, segment) in after.params.segments() {
        let before: Vec<f32> = open(home.path()).params.get(param).to_vec().unwrap();
        assert!(after.params.get(param).to_vec::<f32>().unwrap() == before, "{}", segment.name);
    }
}

#[test]
fn the_special_ids_are_the_new_tokenizers() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = home.path();
    let mut old = bpe(OLD, 290, &["</s>", "<pad>"]);
    old.set_special(Special::Eos, 1).unwrap();
    old.set_special(Special::Pad, 2).unwrap();
    write(dir, "gpt2", true, &old, 0);
    let read = |path: &Path| -> Map<String, Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let mut config = read(&dir.join("config.json"));
    config.extend([
        ("eos_token_id".to_string(), json!(1)),
        ("pad_token_id".to_string(), json!(2)),
        ("tokenizer_class".to_string(), json!("BloomTokenizerFast")),
    ]);
    std::fs::write(dir.join("config.json"), Value::Object(config).to_string()).unwrap();
    let generation =
        json!({"temperature": 0.5, "suppress_tokens": [7], "eos_token_id": 1, "pad_token_id": 2});
    std::fs::write(dir.join("generation_config.json"), generation.to_string()).unwrap();

    let (after, _) = holds(dir, new);
    after.save(out.path()).unwrap();
    let again = open(out.path());
    assert_eq!(again.notes, [""; 0]);
    for file in ["config.json", "generation_config.json"] {
        let config = read(&out.path().join(file));
        // The new one has no token for padding by that role, and does not say that 2 is.
        assert_eq!(
            (&config["eos_token_id"], config.get("pad_token_id")),
            (&json!(0), None),
            "{file}"
        );
        assert!(!config.contains_key("suppress_tokens") && !config.contains_key("tokenizer_class"));
    }
    assert_eq!(read(&out.path().join("generation_config.json"))["temperature"], 0.5);
    for (param, segment) in after.params.segments() {
        let saved: Vec<f32> = again.params.get(param).to_vec().unwrap();
        assert!(saved == after.params.get(param).to_vec::<f32>().unwrap(), "{}", segment.name);
    }

    std::fs::remove_file(dir.join("tokenizer.json")).unwrap();
    let error = open(dir).retokenize(new(), Use::Training).err().unwrap();
    assert_eq!(error.kind(), Kind::BadData);
}

#[test]
fn it_learns_with_the_new_vocabulary() {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), "gpt2", true, &bpe(OLD, 290, &[]), 0);
    let (mut model, _) = open(home.path()).retokenize(new(), Use::Training).unwrap();
    let options = DataOptions {
        time: 16,
        rows: 2,
        streams: false,
        packing: Packing::Isolate,
        mask_eos: false,
        seed: 1,
        cache: None,
    };
    let vocabulary = Vocabulary::Given(Box::new(model.take_tokenizer().unwrap()));
    let data = Data::prepare(
        split(embedded().unwrap(), 0.2, 1).unwrap(),
        vocabulary,
        &options,
        &mut |_| {},
    )
    .unwrap();
    let schedule =
        Schedule { peak: 1e-2, warmup_steps: 0, total_steps: 20, decay: Decay::Constant };
    let rule = AdamW::default();
    let mut trainer = Trainer::new(model.model, model.params, rule, schedule, 1.0, 1).unwrap();
    let losses: Vec<f32> =
        (0..20).map(|step| trainer.step(&data.train.batch(step)).unwrap().loss).collect();
    assert!(losses[19] < losses[0] - 1.0, "{losses:?}");
}
