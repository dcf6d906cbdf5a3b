//! One pass through a model: the parameters it reads, and who looks on.

use crate::error::Result;
use crate::ops::attention::KeyValues;
use crate::ops::dropout::Dropout;
use crate::random::Rng;
use crate::tensor::{Parameters, Tensor};

/// Somebody who looks at tensors inside a model, by the names of their sites (`hidden.0`,
/// `attention.2`), and may put others in their place.
pub trait Probe {
    /// Whether the tensor at this site is to be made and shown, where making it costs something.
    fn wants(&self, site: &str) -> bool;
    /// Receives the tensor at a site that it wants; what it returns goes on through the model.
    fn visit(&mut self, site: &str, x: Tensor) -> Result<Tensor>;
}

/// What a model carries from one position to the next.
#[derive(Default)]
pub struct State {
    /// A decoder's: the keys and values of every layer.
    pub layers: Vec<KeyValues>,
    /// An LSTM's: the last h and c of every layer, [rows, hidden]; none at all is nothing read yet. They
    /// have no history, so back-propagation ends where a pass began.
    pub recurrent: Vec<(Tensor, Tensor)>,
}

pub struct Pass<'a> {
    pub params: &'a Parameters,
    /// The random numbers of dropout; `None` outside training.
    pub dropout: Option<Rng>,
    pub state: Option<&'a mut State>,
    pub probe: Option<&'a mut dyn Probe>,
}

impl<'a> Pass<'a> {
    /// A pass that neither drops nor remembers, watched by nobody.
    pub fn new(params: &'a Parameters) -> Self {
        Pass { params, dropout: None, state: None, probe: None }
    }

    /// The dropout of share `p` at a site of the model; `None` where nothing is dropped.
    pub fn dropout_at(&self, p: f32, site: u64) -> Result<Option<Dropout>> {
        match self.dropout {
            Some(rng) if p > 0.0 => Dropout::new(p, rng, site).map(Some),
            _ => Ok(None),
        }
    }

    /// Shows `x` at `site` to a probe that wants it.
    pub fn show(&mut self, site: impl FnOnce() -> String, x: Tensor) -> Result<Tensor> {
        match &mut self.probe {
            None => Ok(x),
            Some(probe) => {
                let site = site();
                if probe.wants(&site) { probe.visit(&site, x) } else { Ok(x) }
            }
        }
    }

    /// Makes and shows what only a probe needs.
    pub fn show_made(
        &mut self,
        site: impl FnOnce() -> String,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<()> {
        if let Some(probe) = &mut self.probe {
            let site = site();
            if probe.wants(&site) {
                probe.visit(&site, make()?)?;
            }
        }
        Ok(())
    }
}
