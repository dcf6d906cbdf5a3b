//! The promise: whatever a model's files say of the special ids, copla has one opinion, tells how it came
//! to it, and writes it down everywhere; a token without a row gets one.

use copla::models::decoder::{DropoutShares, Options, Window};
use copla::models::{
    self, Input, Model, Pretrained, Use, bloom::Bloom, gpt_neo::GptNeo, gpt2::Gpt2,
};
use copla::nn::Pass;
use copla::ops::linear::Activation;
use copla::text::{Special, Tokenizer};
use copla::{DType, Device, Kind, Parameters, no_grad};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::{Command, Output};

/// Tokens of every tokenizer under `golden/tokenizers` but for the added ones.
const VOCAB: usize = 290;

fn model(family: &str, tied: bool) -> Box<dyn Model> {
    let options = Options {
        vocab: VOCAB,
        context: 24,
        width: 16,
        layers: 2,
        heads: 2,
        mlp_width: 64,
        activation: Activation::GeluTanh,
        eps: 1e-5,
        dropout: DropoutShares::default(),
        window: (family == "gpt_neo").then(|| Window { keys: 5, local: vec![false, true] }),
        tied,
    };
    match family {
        "gpt2" => Box::new(Gpt2::new(options, None).unwrap()),
        "gpt_neo" => Box::new(GptNeo::new(options, None).unwrap()),
        _ => Box::new(Bloom::new(options, None).unwrap()),
    }
}

/// A model of random weights in `dir`, beside a tokenizer as `golden/tokenizers` has it.
fn write(dir: &Path, tokenizer: &str, family: &str, tied: bool) -> (Box<dyn Model>, Parameters) {
    let model = model(family, tied);
    let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 3).unwrap();
    models::save(dir, &*model, &params).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tokenizers");
    let case = read(&golden.join(format!("{tokenizer}.json")));
    for (name, text) in case["files"].as_object().unwrap() {
        if name != "config.json" {
            std::fs::write(dir.join(name), text.as_str().unwrap()).unwrap();
        }
    }
    (model, params)
}

fn read(path: &Path) -> Map<String, Value> {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Writes `keys` over what a JSON file has.
fn edit(path: &Path, keys: Value) {
    let mut object = if path.exists() { read(path) } else { Map::new() };
    object.extend(keys.as_object().unwrap().clone());
    std::fs::write(path, Value::Object(object).to_string()).unwrap();
}

fn load(dir: &Path) -> Pretrained {
    Pretrained::load(dir, Use::Inference, DType::F32, Device::Cpu).unwrap()
}

/// The notes, without the directory that each begins with.
fn notes(loaded: &Pretrained, dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    let without = |note: &String| note.strip_prefix(&dir).unwrap().to_string();
    loaded.notes.iter().map(without).collect()
}

/// Saves `loaded` and opens it again: without a word, and with the same special ids.
fn saved_it_is_quiet(loaded: &Pretrained, dir: &Path) -> Pretrained {
    loaded.save(dir).unwrap();
    let again = load(dir);
    assert_eq!(again.notes, [""; 0]);
    let ids = |of: &Pretrained| Special::ALL.map(|s| of.tokenizer().unwrap().special(s));
    assert_eq!(ids(&again), ids(loaded));
    assert_eq!(again.model.config(), loaded.model.config());
    for file in ["config.json", "generation_config.json"] {
        let config = read(&dir.join(file));
        for (special, id) in Special::ALL.into_iter().zip(ids(loaded)) {
            let written = config.get(special.id_key()).and_then(Value::as_u64);
            let silent = special == Special::Unk && written.is_none();
            assert!(silent || written == id.map(u64::from), "{file}: {special:?} is {written:?}");
        }
    }
    again
}

/// As datificate/gpt2-small-spanish: GPT-2's ids in the config, and a tokenizer of its own.
#[test]
fn the_tokenizer_goes_before_the_configs() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    write(dir, "two_files", "gpt2", true);
    edit(&dir.join("config.json"), json!({"bos_token_id": 50256, "eos_token_id": 50256}));
    let keys = json!({"eos_token_id": [7, 0], "pad_token_id": 5, "temperature": 0.6});
    edit(&dir.join("generation_config.json"), keys);
    let loaded = load(dir);
    assert_eq!(
        notes(&loaded, dir),
        [
            "/config.json: bos_token_id is 50256; 0 is used, the tokenizer's \"<|endoftext|>\"",
            "/config.json: eos_token_id is 50256; 0 is used, the tokenizer's \"<|endoftext|>\"",
            "/generation_config.json: eos_token_id is [7, 0]; only 0 is used, \"<|endoftext|>\"",
        ]
    );
    assert_eq!(loaded.tokenizer().unwrap().eos().unwrap(), 0);
    // What only one of them knows is taken without a word, and what copla does not know is kept.
    assert_eq!(loaded.tokenizer().unwrap().special(Special::Pad), Some(5));
    saved_it_is_quiet(&loaded, out.path());
    assert_eq!(read(&out.path().join("generation_config.json"))["temperature"], 0.6);
    assert_eq!(read(&out.path().join("generation_config.json"))["eos_token_id"], 0);
    assert_eq!(read(&out.path().join("tokenizer_config.json"))["pad_token"], "%");
}

#[test]
fn where_the_tokenizer_names_none_the_configs_do() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = dir.path();
    write(dir, "fast_with_template", "gpt2", true);
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(dir.join("tokenizer_config.json"), class).unwrap();
    edit(&dir.join("config.json"), json!({"eos_token_id": [9000, 2], "vocab_size": VOCAB}));
    edit(&dir.join("generation_config.json"), json!({"bos_token_id": 1, "eos_token_id": 2}));
    let loaded = load(dir);
    let noted = notes(&loaded, dir);
    let expected = "/config.json: eos_token_id is [9000, 2]; only 2 is used, \"</s>\"";
    // `<mask>` has no row.
    assert_eq!((noted.len(), noted[0].as_str()), (2, expected));
    let tokenizer = loaded.tokenizer().unwrap();
    assert_eq!(Special::ALL.map(|s| tokenizer.special(s)), [Some(1), Some(2), None, None]);
    assert!(!tokenizer.encode("fin</s>").unwrap().contains(&2));
    let again = saved_it_is_quiet(&loaded, out.path());
    assert!(!again.tokenizer().unwrap().encode("fin</s>").unwrap().contains(&2));
    assert_eq!(read(&out.path().join("tokenizer_config.json"))["eos_token"], "</s>");

    // An id that no token has is told, and missed only where an end is needed.
    std::fs::remove_file(dir.join("generation_config.json")).unwrap();
    edit(&dir.join("config.json"), json!({"eos_token_id": 9000, "bos_token_id": -1}));
    let loaded = load(dir);
    let noted = notes(&loaded, dir);
    assert_eq!(noted[0], "/config.json: bos_token_id is -1; no token has it, and none is used");
    assert_eq!(noted[1], "/config.json: eos_token_id is 9000; no token has it, and none is used");
    let error = loaded.tokenizer().unwrap().eos().unwrap_err();
    assert!(error.to_string().contains("an end-of-text token"), "{error}");
    saved_it_is_quiet(&loaded, out.path());
    edit(&dir.join("config.json"), json!({"eos_token_id": "fin"}));
    let error = Pretrained::load(dir, Use::Inference, DType::F32, Device::Cpu).err().unwrap();
    assert!(error.to_string().contains("`eos_token_id`: expected an id"), "{error}");
    assert_eq!(error.kind(), Kind::BadData);
}

/// Logits after each token of `ids`: [time, vocab].
fn logits(model: &dyn Model, params: &Parameters, ids: &[u32]) -> Vec<Vec<f32>> {
    let input = Input::rows(ids, 1, Device::Cpu).unwrap();
    let logits = no_grad(|| {
        let mut pass = Pass::new(params);
        let hidden = model.hidden(&input, &mut pass)?;
        model.logits(&hidden, &mut pass)?.to_vec()
    });
    logits.unwrap().chunks(model.vocab_size()).map(<[f32]>::to_vec).collect()
}

/// As mrm8488/spanish-gpt2: the end of text is an added token, one beyond the embedding.
#[test]
fn a_token_beyond_the_embedding_gets_the_mean_row() {
    for (family, tied) in
        [("gpt2", true), ("gpt2", false), ("gpt_neo", true), ("bloom", true), ("bloom", false)]
    {
        let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = home.path();
        let (old, old_params) = write(dir, "end_is_added", family, tied);
        // Nothing but the family's name would say whose class it is.
        edit(&dir.join("tokenizer_config.json"), json!({"tokenizer_class": "GPT2Tokenizer"}));
        let loaded = load(dir);
        let note = ": the embedding grows from 290 rows to 291, for <|endoftext|> of the tokenizer; \
                    each new row is the mean of the old ones";
        assert_eq!(notes(&loaded, dir), [note]);
        assert_eq!(loaded.tokenizer().unwrap().eos().unwrap(), 290);
        assert_eq!(loaded.model.vocab_size(), 291);

        let mut grown = 0;
        for ((a, before), (b, after)) in old_params.segments().zip(loaded.params.segments()) {
            let before_values: Vec<f32> = old_params.get(a).to_vec().unwrap();
            let after_values: Vec<f32> = loaded.params.get(b).to_vec().unwrap();
            let (kept, new) = after_values.split_at(before_values.len());
            assert!(kept == before_values, "{}", before.name);
            if before.shape == after.shape {
                continue;
            }
            grown += 1;
            assert_eq!((&before.name, new.len()), (&after.name, 16));
            for (i, value) in new.iter().enumerate() {
                let column = before_values.iter().skip(i).step_by(16).map(|&x| f64::from(x));
                let mean = column.sum::<f64>() / VOCAB as f64;
                assert!((f64::from(*value) - mean).abs() < 1e-6, "{value} for {mean}");
            }
        }
        assert_eq!(grown, if tied { 1 } else { 2 }, "{family}");

        let ids = [5, 250, 3, 289, 77];
        let before = logits(&*old, &old_params, &ids);
        let after = logits(&*loaded.model, &loaded.params, &ids);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!((before.len(), after.len()), (VOCAB, VOCAB + 1));
            assert!(before.iter().zip(after).all(|(a, b)| (a - b).abs() < 1e-6), "{family}");
        }
        let again = saved_it_is_quiet(&loaded, out.path());
        assert_eq!(read(&out.path().join("config.json"))["vocab_size"], 291);
        assert!(logits(&*again.model, &again.params, &ids) == after);
        // In another storage, and to be trained, it is as large.
        let half = Pretrained::load(dir, Use::Training, DType::F16, Device::Cpu).unwrap();
        assert_eq!((half.model.vocab_size(), half.params.dtype()), (291, DType::F16));
    }
}

#[test]
fn a_model_without_a_tokenizer_is_a_model() {
    let (home, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = home.path();
    write(dir, "two_files", "gpt2", true);
    for file in ["vocab.json", "merges.txt"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    edit(&dir.join("config.json"), json!({"eos_token_id": 50256}));
    let loaded = load(dir);
    // There is nothing that it could disagree with.
    assert_eq!(loaded.notes, [""; 0]);
    let error = loaded.tokenizer().err().unwrap().to_string();
    assert!(error.contains("expected tokenizer.json, or vocab.json and merges.txt"), "{error}");
    loaded.save(out.path()).unwrap();
    assert_eq!(read(&out.path().join("config.json"))["eos_token_id"], 50256);
    assert_eq!(read(&out.path().join("generation_config.json"))["eos_token_id"], 50256);
    assert!(Tokenizer::find(out.path()).unwrap().is_none());
}

/// A vocabulary may leave out ids; a model that writes one is not to fail in the middle of a text.
#[test]
fn an_id_that_no_token_has_is_written_as_nothing() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "two_files", "gpt2", true);
    let path = dir.path().join("vocab.json");
    let mut vocab = read(&path);
    vocab.insert("Ġz".into(), 400.into());
    let merges = dir.path().join("merges.txt");
    std::fs::write(&merges, "Ġ z\n").unwrap();
    std::fs::write(&path, Value::Object(vocab).to_string()).unwrap();
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 401);
    assert_eq!(tokenizer.decode(&[399, 400, 350]).unwrap(), " z");
    assert_eq!(tokenizer.decode(&[401]).unwrap_err().kind(), Kind::BadData);
    // Beyond a hole, an added token has the id that its file gives it.
    edit(&dir.path().join("added_tokens.json"), json!({"<|talk|>": 405}));
    let tokenizer = Tokenizer::load(dir.path()).unwrap();
    assert_eq!(tokenizer.encode("<|talk|> z").unwrap(), [405, 400]);
}

fn copla(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_copla"));
    command.args(arguments).current_dir(dir).output().unwrap()
}

#[test]
fn commands_tell_what_they_found() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    std::fs::create_dir(dir.join("m")).unwrap();
    write(&dir.join("m"), "two_files", "gpt2", true);
    edit(&dir.join("m/config.json"), json!({"eos_token_id": 50256}));
    std::fs::write(dir.join("verses.txt"), "La luna baja.\n\nLa niña canta.\n").unwrap();
    let note = "copla: m/config.json: eos_token_id is 50256; 0 is used, the tokenizer's";
    let evaluate = ["evaluate", "--model", "m", "--data", "verses.txt"];
    for command in [
        &["generate", "--model", "m", "--prompt", "La", "--max-new-tokens", "4", "--json"][..],
        &evaluate,
        &["inspect", "--model", "m", "--text", "La"],
        &["inspect", "--model", "m", "--token-ids", "1,2"],
    ] {
        let output = copla(dir, command);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && told.starts_with(note), "{command:?}: {told}");
    }
    // Without an end of text, only what needs one refuses.
    write(&dir.join("m"), "tokenizer_json_alone", "gpt2", true);
    let class = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    std::fs::write(dir.join("m/tokenizer_config.json"), class).unwrap();
    let output = copla(dir, &evaluate);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(5), "{told}");
    assert!(told.contains("expected an end-of-text token"), "{told}");
    let prompt = ["generate", "--model", "m", "--prompt", "La", "--max-new-tokens", "4", "--json"];
    let output = copla(dir, &prompt);
    assert!(output.status.success(), "{output:?}");
    let written: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(written["sequences"][0]["finish_reason"], "length");
}
