//! The character LSTM: embedding, layers of LSTM, a head; the baseline of every decoder.
//!
//! Graves, "Generating Sequences With Recurrent Neural Networks" (2013), without its skip connections;
//! equals `torch.nn.Embedding`, `torch.nn.LSTM(batch_first=True)` and `torch.nn.Linear(bias=False)` under
//! the names `embedding`, `lstm` and `head`. What it reads need not be characters: that is the
//! tokenizer's business.

use crate::dtype::DType;
use crate::error::{Error, Kind, Result};
use crate::formats::json::Object;
use crate::models::decoder::{MOST_LAYERS, MOST_PARAMETERS, drop_out};
use crate::models::family::{normals, shortest};
use crate::models::{Input, Model, Stored};
use crate::nn::{Pass, State};
use crate::ops::cross_entropy::CrossEntropy;
use crate::random::{Rng, uniform};
use crate::tensor::{Group, Layout, Param, Parameters, Tensor};
use serde_json::{Map, Value, json};

#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub vocab: usize,
    /// Numbers of an embedding.
    pub embedding: usize,
    /// Numbers of h, and of c, in every layer.
    pub hidden: usize,
    pub layers: usize,
    /// The share of a layer's outputs that the layer above does not get, in training.
    pub dropout: f32,
}

/// The one preset, and its sizes for a vocabulary of `vocab`.
pub const PRESET: &str = "char-lstm";

pub fn preset(vocab: usize) -> Options {
    Options { vocab, embedding: 64, hidden: 256, layers: 2, dropout: 0.2 }
}

pub struct CharLstm {
    options: Options,
    parts: Parts,
    /// The config that it was made from, of which the options are a part.
    source: Map<String, Value>,
}

struct Parts {
    embedding: Param,
    layers: Vec<Layer>,
    head: Param,
}

/// `weight_ih`, `weight_hh`, `bias_ih`, `bias_hh`, in the order of `torch.nn.LSTM`.
struct Layer([Param; 4]);

impl Options {
    /// Bad data: sizes that no LSTM has. Out of memory: sizes that no machine could address.
    fn check(&self) -> Result<()> {
        let Options { vocab, embedding, hidden, layers, .. } = *self;
        for (what, size) in [("vocabulary", vocab), ("embedding", embedding), ("width", hidden)] {
            if size == 0 {
                let expected = format!("a {what} of at least 1");
                return Err(Error::bad_data("model config", expected, "0"));
            }
        }
        if !(1..=MOST_LAYERS).contains(&layers) {
            let expected = format!("1 to {MOST_LAYERS} layers");
            return Err(Error::bad_data("model config", expected, layers.to_string()));
        }
        // In floating point, where nothing overflows.
        let [vocab, embedding, hidden, layers] =
            [vocab, embedding, hidden, layers].map(|size| size as f64);
        let gates = 4.0 * hidden * (embedding + (2.0 * layers - 1.0) * hidden);
        let count = gates + vocab * (embedding + hidden);
        if count > MOST_PARAMETERS {
            let expected = format!("at most {MOST_PARAMETERS:.1e} parameters");
            let found = format!("about {count:.1e}");
            return Err(Error::new(Kind::OutOfMemory, "model config", expected, found));
        }
        Ok(())
    }
}

impl Parts {
    /// Registers the parameters in the order in which the model reads them.
    fn new(options: &Options, layout: &mut Layout) -> Result<Self> {
        options.check()?;
        let &Options { vocab, embedding, hidden, layers, .. } = options;
        let tokens = layout.add("embedding.weight", &[vocab, embedding], Group::Decay)?;
        let gates = 4 * hidden;
        let layer = |i: usize| {
            let inputs = if i == 0 { embedding } else { hidden };
            let mut add = |part: &str, dims: &[usize], group| {
                layout.add(&format!("lstm.{part}_l{i}"), dims, group)
            };
            Ok(Layer([
                add("weight_ih", &[gates, inputs], Group::Decay)?,
                add("weight_hh", &[gates, hidden], Group::Decay)?,
                add("bias_ih", &[gates], Group::NoDecay)?,
                add("bias_hh", &[gates], Group::NoDecay)?,
            ]))
        };
        let layers = (0..layers).map(layer).collect::<Result<_>>()?;
        let head = layout.add("head.weight", &[vocab, hidden], Group::Decay)?;
        Ok(Parts { embedding: tokens, layers, head })
    }
}

impl CharLstm {
    /// A model whose texts begin and end with `eos`.
    pub fn new(options: Options, eos: Option<u32>) -> Result<Self> {
        let parts = Parts::new(&options, &mut Layout::new())?;
        let ids = ["bos_token_id", "eos_token_id"].map(|key| (key.to_string(), json!(eos)));
        Ok(CharLstm { options, parts, source: Map::from_iter(ids) })
    }

    pub fn from_config(config: &Object) -> Result<Self> {
        let options = Options {
            vocab: config.get("vocab_size")?,
            embedding: config.get("embedding_dim")?,
            hidden: config.get("hidden_size")?,
            layers: config.get_or("num_layers", 1)?,
            dropout: config.get_or("dropout", 0.0)?,
        };
        let mut source = config.map().clone();
        // That is said by how the parameters are stored.
        source.retain(|key, _| key != "dtype" && key != "torch_dtype");
        Ok(CharLstm { source, ..Self::new(options, None)? })
    }

    /// h and c before anything was read.
    fn nothing_read(&self, rows: usize, params: &Parameters) -> Result<(Tensor, Tensor)> {
        let zeros = |dtype| Tensor::zeros(&[rows, self.options.hidden], dtype, params.device());
        Ok((zeros(params.dtype())?, zeros(DType::F32)?))
    }
}

impl Model for CharLstm {
    /// The outputs of the last layer. Shows `hidden.0`, the embedding, and `hidden.i`, the outputs of
    /// the i-th layer.
    fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let rows = input.tokens.dims().first().copied().unwrap_or(0);
        let table = pass.params.get(self.parts.embedding);
        let x = table.embedding(&input.tokens, None)?;
        let mut x = pass.show(|| "hidden.0".into(), x)?.cast(pass.params.dtype())?;
        let mut carried = Vec::with_capacity(self.parts.layers.len());
        for (i, layer) in self.parts.layers.iter().enumerate() {
            if i > 0 {
                x = drop_out(x, self.options.dropout, i as u64, pass)?;
            }
            let before = pass.state.as_ref().and_then(|state| state.recurrent.get(i)).cloned();
            let (h, c) = before.map_or_else(|| self.nothing_read(rows, pass.params), Ok)?;
            let [w_ih, w_hh, b_ih, b_hh] = layer.0.map(|param| pass.params.get(param));
            let (y, (h, c)) =
                x.lstm(&w_ih, &w_hh, &b_ih, &b_hh, (&h, &c), Some(&input.positions))?;
            carried.push((h.detach(), c.detach()));
            x = pass.show(|| format!("hidden.{}", i + 1), y)?;
        }
        if let Some(state) = &mut pass.state {
            state.recurrent = carried;
        }
        Ok(x)
    }

    fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        hidden.linear_f32(&pass.params.get(self.parts.head))
    }

    fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let rows = targets.numel();
        let hidden = hidden.reshape(&[rows, self.options.hidden])?;
        let head = pass.params.get(self.parts.head);
        hidden.linear_cross_entropy(&head, &targets.reshape(&[rows])?, options)
    }

    fn new_state(&self, rows: usize, _: usize, params: &Parameters) -> Result<State> {
        let layer = |_: &Layer| self.nothing_read(rows, params);
        let recurrent = self.parts.layers.iter().map(layer).collect::<Result<_>>()?;
        Ok(State { recurrent, ..State::default() })
    }

    fn vocab_size(&self) -> usize {
        self.options.vocab
    }

    fn context(&self) -> Option<usize> {
        None
    }

    fn layout(&self) -> Result<Layout> {
        let mut layout = Layout::new();
        Parts::new(&self.options, &mut layout)?;
        Ok(layout)
    }

    fn token_tables(&self) -> Vec<Param> {
        vec![self.parts.embedding, self.parts.head]
    }

    /// As PyTorch: the embedding N(0, 1), all else uniform within 1/√hidden.
    fn initialise(&self, params: &mut Parameters, seed: u64) -> Result<()> {
        let rng = Rng::new(seed);
        let bound = 1.0 / (self.options.hidden as f32).sqrt();
        let segments: Vec<_> = params.segments().map(|(id, s)| (id, s.shape.numel())).collect();
        for (site, (param, n)) in segments.into_iter().enumerate() {
            let values: Vec<f32> = if param == self.parts.embedding {
                normals(rng, site as u64, n).collect()
            } else {
                let key = rng.key(site as u64);
                let words = (0..).flat_map(|i| rng.words(key, i));
                words.take(n).map(|word| (2.0 * uniform(word) - 1.0) * bound).collect()
            };
            params.set(param, &values)?;
        }
        Ok(())
    }

    fn sizes(&self) -> Vec<(&'static str, Value)> {
        let Options { vocab, embedding, hidden, layers, .. } = self.options;
        vec![
            ("layers", json!(layers)),
            ("width", json!(hidden)),
            ("embedding_width", json!(embedding)),
            ("vocab_size", json!(vocab)),
            ("tied", json!(false)),
            ("embedding_parameters", json!(vocab * (embedding + hidden))),
        ]
    }

    /// The sizes by PyTorch's names for them.
    fn config(&self) -> Map<String, Value> {
        let Options { vocab, embedding, hidden, layers, dropout } = self.options;
        let mut config = self.source.clone();
        for (key, value) in [
            ("model_type", json!("char_lstm")),
            ("vocab_size", json!(vocab)),
            ("embedding_dim", json!(embedding)),
            ("hidden_size", json!(hidden)),
            ("num_layers", json!(layers)),
            ("dropout", json!(shortest(dropout))),
        ] {
            config.insert(key.into(), value);
        }
        config
    }

    fn stored(&self, _: &str) -> Stored {
        Stored::AsHere
    }
}
