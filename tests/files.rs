//! A model's files round-trip: what copla saves it loads again bit for bit, and what `transformers`
//! saved it saves again as it was.

use copla::formats::json::Object;
use copla::formats::safetensors::{Entry, Weights, save as save_weights};
use copla::models::{Use, from_config, load, save};
use copla::{DType, Device, Kind};
use golden::FAMILIES;
use std::borrow::Cow;

mod golden;

#[test]
fn a_model_of_transformers_is_saved_as_it_was() {
    FAMILIES.iter().for_each(|family| is_saved_as_it_was(family));
}

fn is_saved_as_it_was(family: &str) {
    let (golden, dir) = (golden::dir(family), tempfile::tempdir().unwrap());
    let (model, params) = load(&golden, Use::Inference, DType::F32, Device::Cpu).unwrap();
    save(dir.path(), &*model, &params).unwrap();
    let [theirs, ours] =
        [&golden, dir.path()].map(|dir| Weights::open(&dir.join("model.safetensors")).unwrap());
    assert_eq!(ours.names().collect::<Vec<_>>(), theirs.names().collect::<Vec<_>>());
    assert_eq!(ours.metadata()["format"], "pt");
    for name in theirs.names() {
        let (ours, theirs) = (ours.get(name).unwrap(), theirs.get(name).unwrap());
        assert_eq!((ours.dtype, ours.shape), (theirs.dtype, theirs.shape), "{name}");
        assert!(ours.bytes == theirs.bytes, "{name}");
    }
    // Every key that copla writes has the value that it was read with.
    let [theirs, ours] =
        [&golden, dir.path()].map(|dir| Object::read(&dir.join("config.json")).unwrap());
    for (key, value) in ours.map() {
        if let Some(expected) = theirs.map().get(key) {
            // The same layers, but in one group.
            let same = value == expected || key == "attention_types";
            assert!(same, "{key}: expected {expected}, found {value}");
        }
    }
    assert_eq!(ours.get::<String>("model_type").unwrap(), family);
    assert_eq!(from_config(dir.path()).unwrap().config(), model.config());
}

#[test]
fn what_is_saved_is_loaded_bit_for_bit() {
    FAMILIES.iter().for_each(|family| is_loaded_bit_for_bit(family));
}

fn is_loaded_bit_for_bit(family: &str) {
    let dir = tempfile::tempdir().unwrap();
    let model = from_config(&golden::dir(family)).unwrap();
    let mut params = model.layout().unwrap().build(copla::DType::F32, Device::Cpu).unwrap();
    model.initialise(&mut params, 5).unwrap();
    save(dir.path(), &*model, &params).unwrap();
    for wanted in [Use::Inference, Use::Training] {
        let (again, loaded) = load(dir.path(), wanted, DType::F32, Device::Cpu).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(loaded.count(), params.count());
        let pairs = params.segments().zip(loaded.segments());
        for ((saved, segment), (param, other)) in pairs {
            assert_eq!((&segment.name, segment.shape), (&other.name, other.shape));
            let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            let [before, after] =
                [params.get(saved), loaded.get(param)].map(|tensor| bits(tensor.to_vec().unwrap()));
            assert!(before == after, "{}", segment.name);
            assert!(before.iter().any(|&b| b != 0) || segment.name.ends_with("bias"));
        }
    }
}

/// As older files are: names without `transformer.`, the causal mask beside the weights, the head once
/// more under its own name.
#[test]
fn an_older_file_gives_the_same_model() {
    FAMILIES.iter().for_each(|family| older_names_give_the_same_model(family));
}

fn older_names_give_the_same_model(family: &str) {
    let (golden, dir) = (golden::dir(family), tempfile::tempdir().unwrap());
    std::fs::copy(golden.join("config.json"), dir.path().join("config.json")).unwrap();
    let weights = Weights::open(&golden.join("model.safetensors")).unwrap();
    let mask = [1.0f32; 4];
    let mut entries = vec![
        Entry::new("h.0.attn.bias", &[1, 1, 2, 2], &mask),
        Entry::new("h.0.attn.masked_bias", &[], &mask[..1]),
        Entry::new("h.0.attn.attention.bias", &[1, 1, 2, 2], &mask),
        Entry::new("h.0.attn.attention.masked_bias", &[], &mask[..1]),
    ];
    for name in weights.names() {
        let stored = weights.get(name).unwrap();
        let short = name.strip_prefix("transformer.").unwrap();
        entries.push(Entry::lazy(short, stored.dtype, stored.shape, move || {
            Ok(stored.bytes)
        }));
    }
    save_weights(&dir.path().join("model.safetensors"), &entries, &[]).unwrap();
    let [(_, theirs), (_, older)] = [&golden, dir.path()]
        .map(|dir| load(dir, Use::Inference, DType::F32, Device::Cpu).unwrap());
    for ((a, segment), (b, _)) in theirs.segments().zip(older.segments()) {
        let [a, b] = [theirs.get(a), older.get(b)].map(|x| x.to_vec::<f32>().unwrap());
        assert!(a == b, "{}", segment.name);
    }
}

#[test]
fn a_save_that_fails_leaves_the_file_that_was_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    std::fs::copy(golden::dir("gpt2").join("model.safetensors"), &path).unwrap();
    let before = std::fs::read(&path).unwrap();
    let good = [1.0f32, 2.0];
    let broken = Entry::lazy("late", copla::DType::F32, &[2], || {
        Err(copla::Error::new(Kind::Failure, "the disk", "to hold out", "it did not"))
    });
    let entries = [Entry::new("early", &[2], &good), broken];
    let error = save_weights(&path, &entries, &[]).unwrap_err();
    assert!(error.to_string().starts_with("the disk"), "{error}");
    assert!(std::fs::read(&path).unwrap() == before);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing half written is left");
}
