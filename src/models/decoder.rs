//! The one pre-LN decoder: embedding, blocks of attention and MLP, a last norm, a head.

use crate::dtype::DType;
use crate::error::{Error, Kind, Result};
use crate::models::Input;
use crate::nn::{LayerNorm, Linear, Pass, State};
use crate::ops::attention::{Attention, KeyValues};
use crate::ops::cross_entropy::CrossEntropy;
use crate::ops::linear::Activation;
use crate::tensor::{Group, Layout, Param, Parameters, Tensor};
use serde_json::{Value, json};

/// The sizes of a decoder, and what else a config chooses.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    pub vocab: usize,
    /// The most positions.
    pub context: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    /// Numbers between the two maps of the MLP.
    pub mlp_width: usize,
    pub activation: Activation,
    pub eps: f32,
    pub dropout: DropoutShares,
    /// Layers that see only what is near.
    pub window: Option<Window>,
    /// Whether the head is the token embedding, and no matrix of its own.
    pub tied: bool,
}

/// Local attention (GPT-Neo): a query reads itself and the `keys - 1` places before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub keys: usize,
    /// Which layers are local.
    pub local: Vec<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DropoutShares {
    pub embedding: f32,
    pub attention: f32,
    /// Of what attention and MLP add to the residual stream.
    pub residual: f32,
}

/// More is a mistake in a config, and would take minutes only to be laid out.
pub(super) const MOST_LAYERS: usize = 1000;

impl Options {
    /// Bad data: sizes that no decoder has. Out of memory: sizes that no machine could address.
    fn check(&self) -> Result<()> {
        let Options { vocab, context, width, layers, heads, mlp_width, .. } = *self;
        super::head_dim(width, heads)?;
        let refuse = |expected: String, found: usize| {
            Err(Error::bad_data("model config", expected, found.to_string()))
        };
        for (what, size) in [("vocabulary", vocab), ("context", context), ("MLP width", mlp_width)]
        {
            if size == 0 {
                return refuse(format!("a {what} of at least 1"), size);
            }
        }
        if !(1..=MOST_LAYERS).contains(&layers) {
            return refuse(format!("1 to {MOST_LAYERS} layers"), layers);
        }
        if let Some(Window { keys, local }) = &self.window {
            if *keys == 0 {
                return refuse("a window of at least 1".into(), *keys);
            }
            if local.len() != layers {
                return refuse(format!("attention types for {layers} layers"), local.len());
            }
        }
        // In floating point, where nothing overflows.
        let [vocab, context, width, layers, mlp_width] =
            [vocab, context, width, layers, mlp_width].map(|size| size as f64);
        let count = (vocab + context + layers * (4.0 * width + 2.0 * mlp_width)) * width;
        if count > MOST_PARAMETERS {
            let found = format!("about {count:.1e}");
            let expected = format!("at most {MOST_PARAMETERS:.1e} parameters");
            return Err(Error::new(Kind::OutOfMemory, "model config", expected, found));
        }
        Ok(())
    }
}

/// What a 64-bit machine could address, were it all f32.
pub(super) const MOST_PARAMETERS: f64 = 1.0e18;

/// What tells the families apart whatever their sizes, and what they call their weights.
pub struct Dialect {
    pub positions: Positions,
    /// A layer norm on the token embedding (BLOOM).
    pub embedding_norm: Option<&'static str>,
    /// Whether scores are divided by √head_dim (not in GPT-Neo).
    pub scaled: bool,
    /// Whether queries, keys and values have a bias (not in GPT-Neo).
    pub qkv_bias: bool,
    /// Whether fresh weights of the maps into the residual stream are narrower (GPT-2).
    pub narrow_residual: bool,
    pub tokens: &'static str,
    /// A block is `<blocks>.<i>`, and the rest are places in it.
    pub blocks: &'static str,
    pub attention_norm: &'static str,
    pub qkv: &'static str,
    pub attention_out: &'static str,
    pub mlp_norm: &'static str,
    pub mlp_in: &'static str,
    pub mlp_out: &'static str,
    pub last_norm: &'static str,
}

/// How a decoder knows the order of its tokens.
pub enum Positions {
    /// A table of this name, added to the embedding.
    Learned(&'static str),
    /// Scores that fall with the distance.
    Alibi,
}

/// What every family calls a head that is not tied.
const HEAD: &str = "lm_head.weight";

pub struct Decoder {
    pub options: Options,
    dialect: &'static Dialect,
    tokens: Param,
    positions: Option<Param>,
    embedding_norm: Option<LayerNorm>,
    blocks: Vec<Block>,
    last_norm: LayerNorm,
    /// [vocab, width]: the token embedding where it is tied.
    head: Param,
}

struct Block {
    attention_norm: LayerNorm,
    /// [width] → [3, heads, head_dim]
    qkv: Linear,
    attention_out: Linear,
    mlp_norm: LayerNorm,
    mlp_in: Linear,
    mlp_out: Linear,
}

/// Where dropout happens; with the layer, the key of its random numbers.
#[derive(Clone, Copy)]
enum Place {
    Embedding,
    Attention,
    AttentionOut,
    MlpOut,
}

/// A number for every site, the same in every run.
fn site(layer: usize, place: Place) -> u64 {
    4 * layer as u64 + place as u64
}

impl Decoder {
    /// Registers the parameters in the order in which the model reads them.
    pub fn new(options: Options, dialect: &'static Dialect, layout: &mut Layout) -> Result<Self> {
        let Options { vocab, context, width, mlp_width, eps, tied, .. } = options;
        options.check()?;
        let tokens = layout.add(dialect.tokens, &[vocab, width], Group::Decay)?;
        let positions = match dialect.positions {
            Positions::Learned(name) => Some(layout.add(name, &[context, width], Group::Decay)?),
            Positions::Alibi => None,
        };
        let norm = |layout: &mut Layout, name: &str| LayerNorm::new(layout, name, width, eps);
        let embedding_norm = dialect.embedding_norm.map(|name| norm(layout, name)).transpose()?;
        let mut blocks = Vec::with_capacity(options.layers);
        for i in 0..options.layers {
            let name = |part: &str| format!("{}.{i}.{part}", dialect.blocks);
            let linear = |layout: &mut Layout, part: &str, inputs, outputs, bias| {
                Linear::new(layout, &name(part), inputs, outputs, bias)
            };
            blocks.push(Block {
                attention_norm: norm(layout, &name(dialect.attention_norm))?,
                qkv: linear(layout, dialect.qkv, width, 3 * width, dialect.qkv_bias)?,
                attention_out: linear(layout, dialect.attention_out, width, width, true)?,
                mlp_norm: norm(layout, &name(dialect.mlp_norm))?,
                mlp_in: linear(layout, dialect.mlp_in, width, mlp_width, true)?,
                mlp_out: linear(layout, dialect.mlp_out, mlp_width, width, true)?,
            });
        }
        let last_norm = norm(layout, dialect.last_norm)?;
        let head = if tied { tokens } else { layout.add(HEAD, &[vocab, width], Group::Decay)? };
        Ok(Decoder { options, dialect, tokens, positions, embedding_norm, blocks, last_norm, head })
    }

    /// The token embedding, and the head where it is not tied.
    pub fn token_tables(&self) -> Vec<Param> {
        let mut tables = vec![self.tokens, self.head];
        tables.dedup();
        tables
    }

    /// The state after the last norm: [batch, time, width], stored as the parameters are; the residual
    /// stream before it is f32 always, as it is summed over all layers. Shows `hidden.i`, the residual stream
    /// before block i (the last one normed, as `transformers` counts them), and `attention.i`.
    pub fn hidden(&self, input: &Input, pass: &mut Pass) -> Result<Tensor> {
        let shares = self.options.dropout;
        let near = self.first_near_key(input, pass)?;
        let x = self.embed(input, pass)?;
        let mut x = drop_out(x, shares.embedding, site(0, Place::Embedding), pass)?;
        x = pass.show(|| "hidden.0".into(), x)?;
        let first = self.blocks.first().map_or(&self.last_norm, |block| &block.attention_norm);
        let mut normed = first.forward(&x, pass)?;
        for (i, block) in self.blocks.iter().enumerate() {
            let local = self.options.window.as_ref().is_some_and(|window| window.local[i]);
            let first_key = if local { &near } else { &input.first_key };
            let attended = self.attend(i, &normed, first_key, pass)?;
            (x, normed) = block.mlp_norm.residual(&x, &attended, pass)?;
            let inner = block.mlp_in.forward(&normed, self.options.activation, pass)?;
            let added = block.mlp_out.forward(&inner, Activation::Identity, pass)?;
            let added = drop_out(added, shares.residual, site(i, Place::MlpOut), pass)?;
            let last = i + 1 == self.blocks.len();
            let next = if last { &self.last_norm } else { &self.blocks[i + 1].attention_norm };
            (x, normed) = next.residual(&x, &added, pass)?;
            let shown = if last { &mut normed } else { &mut x };
            *shown = pass.show(|| format!("hidden.{}", i + 1), shown.clone())?;
        }
        Ok(normed)
    }

    /// The residual stream before the first block, in f32.
    fn embed(&self, input: &Input, pass: &Pass) -> Result<Tensor> {
        let tokens = pass.params.get(self.tokens);
        let positions = self.positions.map(|table| pass.params.get(table));
        let positions = positions.as_ref().map(|table| (table, &input.positions));
        let x = tokens.embedding(&input.tokens, positions)?;
        match &self.embedding_norm {
            Some(norm) => norm.forward(&x, pass)?.cast(DType::F32),
            None => Ok(x),
        }
    }

    /// The first key that each token may read in a local layer: u32, [batch, time].
    fn first_near_key(&self, input: &Input, pass: &Pass) -> Result<Tensor> {
        let Some(Window { keys, .. }) = &self.options.window else {
            return Ok(input.first_key.clone());
        };
        let past = pass.state.as_ref().and_then(|state| state.layers.first());
        let past = past.map_or(0, KeyValues::len);
        let time = input.first_key.shape().last_dim();
        // Places are far below 2^24, up to which f32 holds every whole number.
        let near = |i: usize| (past + i + 1).saturating_sub(*keys) as f32;
        let near: Vec<f32> = (0..time).map(near).collect();
        let near = Tensor::from_slice(&near, &[time], input.first_key.device())?;
        input.first_key.cast(DType::F32)?.maximum(&near)?.cast(DType::U32)
    }

    /// What the attention of block `i` to the keys from `first_key` on adds to the residual stream.
    fn attend(&self, i: usize, x: &Tensor, first_key: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        let (block, Options { heads, width, dropout, .. }) = (&self.blocks[i], &self.options);
        let head_dim = width / heads;
        let &[batch, time, _] = x.dims() else {
            return Err(crate::Error::shape("decoder", "[batch, time, width]", format!("{x:?}")));
        };
        let scale = if self.dialect.scaled { 1.0 / (head_dim as f32).sqrt() } else { 1.0 };
        let alibi = matches!(self.dialect.positions, Positions::Alibi);
        let qkv = block.qkv.forward(x, Activation::Identity, pass)?;
        let qkv = qkv.reshape(&[batch, time, 3, *heads, head_dim])?;
        let options = Attention { scale, alibi, dropout: None };
        pass.show_made(|| format!("attention.{i}"), || qkv.attention_probs(first_key, options))?;
        let y = match &mut pass.state {
            Some(state) => qkv.cached_attention(&mut state.layers[i], first_key, options)?,
            None => {
                let dropout = pass.dropout_at(dropout.attention, site(i, Place::Attention))?;
                qkv.attention(first_key, Attention { dropout, ..options })?
            }
        };
        drop(qkv);
        let added = block.attention_out.forward(&y, Activation::Identity, pass)?;
        drop_out(added, dropout.residual, site(i, Place::AttentionOut), pass)
    }

    /// [..., width] → [..., vocab] in f32, by the head.
    pub fn logits(&self, hidden: &Tensor, pass: &mut Pass) -> Result<Tensor> {
        hidden.linear_f32(&pass.params.get(self.head))
    }

    /// The loss of `targets` [batch, time] given `hidden` [batch, time, width].
    pub fn loss(
        &self,
        hidden: &Tensor,
        targets: &Tensor,
        options: CrossEntropy,
        pass: &mut Pass,
    ) -> Result<Tensor> {
        let rows = targets.numel();
        let hidden = hidden.reshape(&[rows, self.options.width])?;
        let head = pass.params.get(self.head);
        hidden.linear_cross_entropy(&head, &targets.reshape(&[rows])?, options)
    }

    /// As [`Model::sizes`](crate::models::Model::sizes).
    pub fn sizes(&self) -> Vec<(&'static str, Value)> {
        let Options { vocab, context, width, layers, heads, mlp_width, window, tied, .. } =
            &self.options;
        let (positions, places) = match self.positions {
            Some(_) => ("learned", *context),
            None => ("ALiBi", 0),
        };
        let tables = if *tied { 1 } else { 2 };
        let mut sizes = vec![
            ("layers", json!(layers)),
            ("width", json!(width)),
            ("heads", json!(heads)),
            ("head_dim", json!(width / heads)),
            ("mlp_width", json!(mlp_width)),
            ("vocab_size", json!(vocab)),
            ("context", json!(context)),
            ("positions", json!(positions)),
            ("tied", json!(tied)),
            ("embedding_parameters", json!((tables * vocab + places) * width)),
        ];
        if let Some(Window { keys, local }) = window {
            let local = local.iter().filter(|&&local| local).count();
            sizes.push(("window", json!(keys)));
            sizes.push(("layers_with_window", json!(local)));
        }
        sizes
    }

    pub fn new_state(&self, rows: usize, capacity: usize, params: &Parameters) -> Result<State> {
        let Options { heads, width, .. } = self.options;
        let dims = [rows, heads, capacity, width / heads];
        let layer = |_: &Block| KeyValues::new(dims, params.dtype(), params.device());
        let layers = self.blocks.iter().map(layer).collect::<Result<_>>()?;
        Ok(State { layers, ..State::default() })
    }
}

pub(super) fn drop_out(x: Tensor, share: f32, site: u64, pass: &Pass) -> Result<Tensor> {
    match pass.dropout_at(share, site)? {
        Some(dropout) => x.dropout(dropout),
        None => Ok(x),
    }
}
