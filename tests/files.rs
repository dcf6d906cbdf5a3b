//! A model's files round-trip: what copla saves it loads again bit for bit, and what `transformers`
//! saved it saves again as it was.

use copla::formats::json::{self, Object};
use copla::formats::safetensors::{Entry, Weights, save as save_weights};
use copla::inspect::{Depth, Inspection, inspect};
use copla::models::{Use, from_config, load, save};
use copla::{DType, Device, Kind};
use golden::FAMILIES;
use serde_json::{Value, json};

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
    FAMILIES[..3].iter().for_each(|family| older_names_give_the_same_model(family));
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
        entries
            .push(Entry::lazy(short, stored.dtype, stored.shape, move || Ok(stored.bytes.clone())));
    }
    save_weights(&dir.path().join("model.safetensors"), &entries, &[]).unwrap();
    let [(_, theirs), (_, older)] = [&golden, dir.path()]
        .map(|dir| load(dir, Use::Inference, DType::F32, Device::Cpu).unwrap());
    for ((a, segment), (b, _)) in theirs.segments().zip(older.segments()) {
        let [a, b] = [theirs.get(a), older.get(b)].map(|x| x.to_vec::<f32>().unwrap());
        assert!(a == b, "{}", segment.name);
    }
}

/// A head that is not tied, here equal to the embedding: the loss is the same, and the gradients of both
/// add up to the tied one's.
#[test]
fn an_untied_head_is_a_matrix_of_its_own() {
    for family in &FAMILIES[..3] {
        let (golden, dir) = (golden::dir(family), tempfile::tempdir().unwrap());
        let (model, _) = load(&golden, Use::Inference, DType::F32, Device::Cpu).unwrap();
        let mut config = model.config();
        config.insert("tie_word_embeddings".into(), false.into());
        json::write(&dir.path().join("config.json"), &config).unwrap();
        let weights = Weights::open(&golden.join("model.safetensors")).unwrap();
        let shape = [97, 36];
        let tokens =
            weights.names().find(|name| weights.get(name).unwrap().shape == shape).unwrap();
        let entries: Vec<_> = weights
            .names()
            .map(|name| (name, name))
            .chain([("lm_head.weight", tokens)])
            .map(|(name, like)| {
                let stored = weights.get(like).unwrap();
                let bytes = move || Ok(stored.bytes.clone());
                Entry::lazy(name, stored.dtype, stored.shape, bytes)
            })
            .collect();
        let path = dir.path().join("model.safetensors");
        save_weights(&path, &entries, &[]).unwrap();

        let (model, params) = load(dir.path(), Use::Training, DType::F32, Device::Cpu).unwrap();
        let expected = Weights::open(&golden.join("expected.safetensors")).unwrap();
        let ids = expected.get("token_ids").unwrap().to_u32().unwrap();
        let [tied, untied] = [&golden, dir.path()].map(|dir| {
            let (model, params) = load(dir, Use::Training, DType::F32, Device::Cpu).unwrap();
            inspect(&*model, &params, &ids[..23], Depth::Gradients).unwrap()
        });
        assert_eq!(untied.loss, tied.loss, "{family}");
        let gradient = |of: &Inspection, name: &str| {
            let found = of.gradients.iter().find(|gradient| gradient.0 == name);
            found.unwrap().1.to_vec::<f32>().unwrap()
        };
        let parts = gradient(&untied, tokens).into_iter().zip(gradient(&untied, "lm_head.weight"));
        for ((a, b), sum) in parts.zip(gradient(&tied, tokens)) {
            assert!((a + b - sum).abs() < 1e-6, "{family}: {a} + {b} for {sum}");
        }
        // Saved again it has its head.
        save(dir.path(), &*model, &params).unwrap();
        assert!(Weights::open(&path).unwrap().contains("lm_head.weight"));
        assert!(!model.config()["tie_word_embeddings"].as_bool().unwrap());
    }
}

/// Keys as the published models have them, of which `transformers` writes some otherwise today.
#[test]
fn published_configs_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let read = |config: Value| {
        json::write(&dir.path().join("config.json"), &config).unwrap();
        from_config(dir.path())
    };
    let bloom = json!({
        "model_type": "bloom", "n_embed": 1024, "n_inner": null, "n_layer": 24,
        "num_attention_heads": 16, "offset_alibi": 100, "vocab_size": 250880,
        "bos_token_id": 1, "eos_token_id": 2
    });
    let model = read(bloom).unwrap();
    let config = model.config();
    let found = ["hidden_size", "n_layer", "n_head", "vocab_size", "bos_token_id", "eos_token_id"]
        .map(|key| config[key].as_u64().unwrap());
    assert_eq!((found, model.context()), ([1024, 24, 16, 250_880, 1, 2], Some(2048)));

    let neo = |types: Value| {
        read(json!({
            "model_type": "gpt_neo", "hidden_size": 768, "num_layers": 12, "num_heads": 12,
            "intermediate_size": null, "attention_types": types, "window_size": 256,
            "max_position_embeddings": 2048, "activation_function": "gelu_new"
        }))
    };
    let config = neo(json!([[["global", "local"], 6]])).unwrap().config();
    assert!(config["intermediate_size"].is_null());
    let layers = config["attention_layers"].as_array().unwrap();
    assert_eq!((layers.len(), &layers[10], &layers[11]), (12, &json!("global"), &json!("local")));
    for (types, words) in [
        (json!([[["global", "local"], 5]]), "attention types for 12 layers, found 10"),
        (json!([[["global", "near"], 6]]), "found [[[\"global\",\"near\"],6]]"),
        (json!([[["global"], u64::MAX]]), "found [[[\"global\"],18446744073709551615]]"),
        (json!("global"), "found \"global\""),
    ] {
        let error = neo(types).err().unwrap();
        assert_eq!(error.kind(), Kind::BadData);
        assert!(error.to_string().ends_with(words), "{error}");
    }
}

/// The oldest configs and the newest name some sizes otherwise.
#[test]
fn renamed_keys_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let read = |config: Value| {
        json::write(&dir.path().join("config.json"), &config).unwrap();
        from_config(dir.path())
    };
    let oldest =
        json!({"model_type": "gpt2", "n_embd": 36, "n_layer": 3, "n_head": 3, "n_ctx": 40});
    let newest = json!({"model_type": "gpt2", "hidden_size": 36, "num_hidden_layers": 3,
        "num_attention_heads": 3, "max_position_embeddings": 40});
    for config in [oldest, newest] {
        let model = read(config.clone()).unwrap();
        let sizes = ["n_embd", "n_layer", "n_head", "n_positions"]
            .map(|key| model.config()[key].as_u64().unwrap());
        assert_eq!(sizes, [36, 3, 3, 40], "{config}");
    }
    for (family, key, value) in [
        ("gpt2", "scale_attn_by_inverse_layer_idx", true),
        ("gpt2", "scale_attn_weights", false),
        ("gpt2", "add_cross_attention", true),
        ("bloom", "apply_residual_connection_post_layernorm", true),
    ] {
        let error = read(json!({"model_type": family, key: value})).err().unwrap();
        assert!(error.to_string().starts_with(&format!("config.json: {key}")), "{error}");
    }
    // Another way to the same numbers.
    read(json!({"model_type": "gpt2", "reorder_and_upcast_attn": true})).unwrap();
    read(json!({"model_type": "bloom", "slow_but_exact": true, "pretraining_tp": 4})).unwrap();
}

#[test]
fn what_copla_does_not_know_is_kept() {
    for family in FAMILIES {
        let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let golden = golden::dir(family);
        std::fs::copy(golden.join("model.safetensors"), dir.path().join("model.safetensors"))
            .unwrap();
        let mut config = Object::read(&golden.join("config.json")).unwrap();
        let tasks = json!({"text-generation": {"do_sample": true, "max_length": 50}});
        config.set("task_specific_params", tasks.clone());
        config.set("_name_or_path", "casa/copla");
        config.set("initializer_range", 0.5);
        json::write(&dir.path().join("config.json"), config.map()).unwrap();
        let (model, params) = load(dir.path(), Use::Inference, DType::F16, Device::Cpu).unwrap();
        save(out.path(), &*model, &params).unwrap();
        let saved = Object::read(&out.path().join("config.json")).unwrap();
        assert_eq!(saved.map()["task_specific_params"], tasks);
        assert_eq!(saved.get::<String>("_name_or_path").unwrap(), "casa/copla");
        assert_eq!(saved.get::<f32>("initializer_range").unwrap(), 0.5);
        // How the weights are stored is said once, and rightly.
        assert_eq!(saved.get::<String>("torch_dtype").unwrap(), "float16");
        assert!(!saved.map().contains_key("dtype"));
        for key in config.map().keys().filter(|key| *key != "dtype") {
            assert!(saved.map().contains_key(key), "{family}: {key} is lost");
        }
    }
}

/// As `_init_weights` of the family in `transformers`: GPT-2 alone narrows what goes into the residual
/// stream.
#[test]
fn fresh_weights_are_as_wide_as_the_family_draws_them() {
    let residual = ["attn.c_proj", "mlp.c_proj", "out_proj", "self_attention.dense", "4h_to_h"];
    for family in &FAMILIES[..3] {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Object::read(&golden::dir(family).join("config.json")).unwrap();
        config.set("initializer_range", 0.1);
        json::write(&dir.path().join("config.json"), config.map()).unwrap();
        let model = from_config(dir.path()).unwrap();
        let mut params = model.layout().unwrap().build(DType::F32, Device::Cpu).unwrap();
        model.initialise(&mut params, 1).unwrap();
        for (param, segment) in params.segments().filter(|(_, s)| s.shape.len() == 2) {
            let values: Vec<f32> = params.get(param).to_vec().unwrap();
            let mean_square = values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32;
            let is_residual = residual.iter().any(|part| segment.name.contains(part));
            let narrow = *family == "gpt2" && is_residual;
            // Three layers.
            let expected = if narrow { 0.1 / 6f32.sqrt() } else { 0.1 };
            let found = mean_square.sqrt();
            assert!((found / expected - 1.0).abs() < 0.1, "{}: {found}", segment.name);
        }
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
