//! A family of models: the decoder in its dialect, and the Hugging Face config of it.

use crate::error::{Error, Result};
use crate::formats::json::{FromJson, Object};
use crate::models::decoder::{Decoder, Dialect, Options};
use crate::models::{Input, Model, Stored};
use crate::nn::{Pass, State};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::linear::Activation;
use crate::random::{Rng, normal_pair};
use crate::tensor::{Layout, Param, Parameters, Tensor};
use serde_json::{Map, Value, json};
use std::marker::PhantomData;

/// What is to be known of a family.
pub trait Family: Send + Sync + 'static {
    const DIALECT: &'static Dialect;

    /// What `config.json` chooses; bad data where it asks for what copla does not compute.
    fn options(config: &Object) -> Result<Options>;

    /// The keys that [`Family::options`] reads, and those by which `transformers` knows the class.
    fn config(options: &Options) -> Value;

    /// How a Hugging Face file stores a parameter.
    fn stored(options: &Options, name: &str) -> Stored;
}

/// A model of the family `F`.
pub struct DecoderModel<F> {
    decoder: Decoder,
    /// Standard deviation of fresh weights.
    initializer_range: f32,
    /// The config that it was made from, of which the decoder knows a part.
    source: Map<String, Value>,
    family: PhantomData<F>,
}

impl<F: Family> DecoderModel<F> {
    /// A model whose texts begin and end with `eos`.
    pub fn new(options: Options, eos: Option<u32>) -> Result<Self> {
        let decoder = Decoder::new(options, F::DIALECT, &mut Layout::new())?;
        let source = Map::from_iter([
            ("bos_token_id".to_string(), json!(eos)),
            ("eos_token_id".to_string(), json!(eos)),
            ("use_cache".to_string(), json!(true)),
        ]);
        Ok(DecoderModel { decoder, initializer_range: 0.02, source, family: PhantomData })
    }

    pub fn from_config(config: &Object) -> Result<Self> {
        let initializer_range = config.get_or("initializer_range", 0.02)?;
        let model = Self::new(F::options(config)?, None)?;
        let mut source = config.map().clone();
        // That is said by how the parameters are stored.
        source.retain(|key, _| key != "dtype" && key != "torch_dtype");
        Ok(DecoderModel { initializer_range, source, ..model })
    }
}

impl<F: Family> Model for DecoderModel<F> {
    fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        self.decoder.hidden(input, pass)
    }

    fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        self.decoder.logits(hidden, pass)
    }

    fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        self.decoder.loss(hidden, targets, options, pass)
    }

    fn new_state(&self, rows: usize, capacity: usize, params: &Parameters) -> Result<State> {
        self.decoder.new_state(rows, capacity, params)
    }

    fn vocab_size(&self) -> usize {
        self.decoder.options.vocab
    }

    fn context(&self) -> Option<usize> {
        Some(self.decoder.options.context)
    }

    fn layout(&self) -> Result<Layout> {
        let mut layout = Layout::new();
        Decoder::new(self.decoder.options.clone(), F::DIALECT, &mut layout)?;
        Ok(layout)
    }

    fn token_tables(&self) -> Vec<Param> {
        self.decoder.token_tables()
    }

    /// N(0, `initializer_range`), in some families the maps into the residual stream narrower by
    /// √(2·layers); norms 1, biases 0.
    fn initialise(&self, params: &mut Parameters, seed: u64) -> Result<()> {
        let rng = Rng::new(seed);
        let wide = self.initializer_range;
        let narrow = wide / (2.0 * self.decoder.options.layers as f32).sqrt();
        let into_residual = [F::DIALECT.attention_out, F::DIALECT.mlp_out];
        let segments: Vec<_> = params.segments().map(|(id, s)| (id, s.clone())).collect();
        for (site, (param, segment)) in segments.into_iter().enumerate() {
            let n = segment.shape.numel();
            let values: Vec<f32> = match segment.name.strip_suffix(".weight") {
                None => vec![0.0; n],
                Some(_) if segment.shape.len() == 1 => vec![1.0; n],
                Some(map) => {
                    let is_narrow = F::DIALECT.narrow_residual
                        && into_residual.iter().any(|part| map.ends_with(part));
                    let std = if is_narrow { narrow } else { wide };
                    normals(rng, site as u64, n).map(|x| x * std).collect()
                }
            };
            params.set(param, &values)?;
        }
        Ok(())
    }

    fn sizes(&self) -> Vec<(&'static str, Value)> {
        self.decoder.sizes()
    }

    fn config(&self) -> Map<String, Value> {
        let mut config = self.source.clone();
        if let Value::Object(known) = F::config(&self.decoder.options) {
            config.extend(known);
        }
        for (key, value) in [
            ("initializer_range", json!(shortest(self.initializer_range))),
            ("tie_word_embeddings", json!(self.decoder.options.tied)),
        ] {
            config.insert(key.into(), value);
        }
        config
    }

    fn stored(&self, name: &str) -> Stored {
        F::stored(&self.decoder.options, name)
    }
}

/// The value of the first of `keys` that the file has: some have been renamed, and `transformers` goes on
/// understanding the old ones.
pub fn first_of<T: FromJson>(config: &Object, keys: &[&str], default: T) -> Result<T> {
    for key in keys {
        if let Some(value) = config.optional(key)? {
            return Ok(value);
        }
    }
    Ok(default)
}

/// Refuses what a config may ask for and copla does not compute.
pub fn expect_flags(config: &Object, flags: &[(&str, bool)]) -> Result<()> {
    for &(key, expected) in flags {
        if config.get_or(key, expected)? != expected {
            return Err(unsupported(key, &expected.to_string(), &(!expected).to_string()));
        }
    }
    Ok(())
}

/// `activation_function`, as GPT-2 and GPT-Neo name it.
pub fn activation(config: &Object) -> Result<Activation> {
    let key = "activation_function";
    let name: String = config.get_or(key, "gelu_new".into())?;
    match name.as_str() {
        "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
        "gelu" => Ok(Activation::GeluErf),
        other => Err(unsupported(key, "gelu_new or gelu", other)),
    }
}

pub fn activation_name(activation: Activation) -> &'static str {
    match activation {
        Activation::GeluErf => "gelu",
        Activation::GeluTanh | Activation::Identity => "gelu_new",
    }
}

/// The MLP's width as the config has it: `null` where it is the usual fourfold.
pub fn mlp_width(options: &Options) -> Value {
    let usual = options.mlp_width == 4 * options.width;
    if usual { Value::Null } else { json!(options.mlp_width) }
}

pub fn unsupported(key: &str, expected: &str, found: &str) -> Error {
    Error::bad_data(format!("config.json: {key}"), expected, found)
}

/// As the shortest decimal, not as the f32 widened to f64.
pub fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or(f64::from(x))
}

/// `n` standard normal numbers of one site.
pub fn normals(rng: Rng, site: u64, n: usize) -> impl Iterator<Item = f32> {
    let key = rng.key(site);
    let four = move |i| {
        let [a, b, c, d] = rng.words(key, i);
        let ((w, x), (y, z)) = (normal_pair(a, b), normal_pair(c, d));
        [w, x, y, z]
    };
    (0..).flat_map(four).take(n)
}
