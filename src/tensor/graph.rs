//! Autograd: a graph of operations that `backward` consumes, newest node first.
//!
//! Operations never return gradients; they write them through a [`Sink`], into a parameter's
//! segment of the arena or into the sum that an older node waits for. So a weight gradient is
//! accumulated in place by its matrix product, and an activation is freed with its last reader.

use crate::cpu::{for_rows, simd, vectorized};
use crate::error::{Error, Result};
use crate::shape::Shape;
use crate::tensor::{Buffer, Device, Gradients, Param, Tensor, ViewMut, cuda};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What an operation needs for its backward. Its fields are detached: an output saved with its edge
/// would keep itself alive.
pub trait Op: Send {
    /// Sends the gradients of the inputs, given `grad`, the gradient of the output.
    fn backward(self: Box<Self>, grad: Tensor, to: &mut Sink) -> Result<()>;
}

/// Where a gradient goes: to the node that made the tensor, or to a parameter, the only leaves.
#[derive(Clone)]
pub enum Edge {
    Node(Arc<Node>),
    Param(Param),
}

pub struct Node {
    /// Grows with every node, so that the highest pending id has no readers left.
    id: u64,
    inputs: Vec<Option<Edge>>,
    op: Mutex<Option<Box<dyn Op>>>,
}

impl Edge {
    pub(super) fn new(inputs: Vec<Option<Edge>>, op: Box<dyn Op>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        Edge::Node(Arc::new(Node { id, inputs, op: Mutex::new(Some(op)) }))
    }
}

impl Node {
    fn take_op(&self) -> Result<Box<dyn Op>> {
        let mut op = self.op.lock().unwrap_or_else(PoisonError::into_inner);
        op.take().ok_or_else(|| {
            Error::shape("backward", "a graph used for the first time", "one already consumed")
        })
    }
}

/// A long graph is a long chain of `Arc`s: dropped one by one, not by recursion.
impl Drop for Node {
    fn drop(&mut self) {
        let mut orphans = std::mem::take(&mut self.inputs);
        while let Some(edge) = orphans.pop() {
            if let Some(Edge::Node(node)) = edge
                && let Some(mut node) = Arc::into_inner(node)
            {
                orphans.append(&mut node.inputs);
            }
        }
    }
}

thread_local! {
    static GRAD_ENABLED: Cell<bool> = const { Cell::new(true) };
}

/// Whether operations on this thread are recorded.
pub fn grad_enabled() -> bool {
    GRAD_ENABLED.get()
}

/// Runs `f` without recording (as `torch.no_grad`).
pub fn no_grad<R>(f: impl FnOnce() -> R) -> R {
    with_mode(false, f)
}

/// Runs `f` recording, also inside [`no_grad`] (as `torch.enable_grad`).
pub fn with_grad<R>(f: impl FnOnce() -> R) -> R {
    with_mode(true, f)
}

fn with_mode<R>(enabled: bool, f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            GRAD_ENABLED.set(self.0);
        }
    }
    let _restore = Restore(GRAD_ENABLED.replace(enabled));
    f()
}

/// Nodes that have received a gradient and wait for the rest of it, by id.
type Pending = BTreeMap<u64, (Arc<Node>, Tensor)>;

/// Adds d(sum(y·seed))/dθ to the gradient of every parameter θ that y depends on, and consumes the
/// graph: each activation is freed when its last reader is done. For a scalar loss the seed is 1.
///
/// ```
/// use copla::{Device, Group, Layout, Tensor, backward};
/// let mut layout = Layout::new();
/// let w = layout.add("w", &[2], Group::Decay)?;
/// let (params, mut grads) = layout.build_with(Device::Cpu, &[(w, &[3.0, -1.0])])?;
/// let loss = params.get(w).mul(&params.get(w))?.sum_all()?;
/// backward(loss, Tensor::scalar(1.0, Device::Cpu)?, &mut grads)?;
/// assert_eq!(grads.get(w)?.to_vec::<f32>()?, [6.0, -2.0]);
/// # Ok::<(), copla::Error>(())
/// ```
pub fn backward(y: Tensor, seed: Tensor, arena: &mut Gradients) -> Result<()> {
    if y.shape() != seed.shape() {
        let (expected, found) = (format!("a seed of shape {}", y.shape()), seed.shape());
        return Err(Error::shape("backward", expected, format!("{found}")));
    }
    no_grad(|| {
        let mut pending = Pending::new();
        Sink { inputs: &[], pending: &mut pending, arena }.send(y.edge, seed)?;
        while let Some((_, (node, grad))) = pending.pop_last() {
            let mut sink = Sink { inputs: &node.inputs, pending: &mut pending, arena };
            node.take_op()?.backward(grad, &mut sink)?;
        }
        Ok(())
    })
}

/// Where an operation's backward puts the gradients of its inputs, named by their position.
pub struct Sink<'a> {
    inputs: &'a [Option<Edge>],
    pending: &'a mut Pending,
    arena: &'a mut Gradients,
}

impl Sink<'_> {
    /// Whether input `i` needs a gradient.
    pub fn wants(&self, i: usize) -> bool {
        match &self.inputs[i] {
            None => false,
            Some(Edge::Node(_)) => true,
            Some(Edge::Param(param)) => self.arena.wants(*param),
        }
    }

    /// Hands over the gradient of input `i`; dropped where none is wanted.
    pub fn give(&mut self, i: usize, grad: Tensor) -> Result<()> {
        self.send(self.inputs[i].clone(), grad)
    }

    /// Lends the place where the gradient of input `i`, which is like `like`, is summed, with the
    /// `beta` by which what stands there is to be multiplied first (0: it is not to be read).
    pub fn slot(&mut self, i: usize, like: &Tensor) -> Result<Option<(ViewMut<'_>, f32)>> {
        match &self.inputs[i] {
            None => Ok(None),
            Some(Edge::Param(param)) => self.arena.slot(*param),
            Some(Edge::Node(node)) => {
                let beta = if self.pending.contains_key(&node.id) { 1.0 } else { 0.0 };
                let (_, sum) = match self.pending.entry(node.id) {
                    Entry::Occupied(entry) => entry.into_mut(),
                    Entry::Vacant(entry) => {
                        let buffer = Buffer::new(like.device(), like.dtype(), like.numel())?;
                        entry.insert((node.clone(), Tensor::new(buffer, like.shape)))
                    }
                };
                Ok(Some((sum.make_mut()?, beta)))
            }
        }
    }

    /// Puts the edge of input `i` back on a tensor that was saved without it.
    pub fn input(&self, i: usize, saved: Tensor) -> Tensor {
        Tensor { edge: self.inputs[i].clone(), ..saved }
    }

    /// Sends `grad` along any edge: what activation checkpointing needs for its replayed output.
    pub fn send(&mut self, edge: Option<Edge>, grad: Tensor) -> Result<()> {
        match edge {
            None => Ok(()),
            Some(Edge::Param(param)) => match self.arena.slot(param)? {
                Some((sum, beta)) => accumulate(sum, beta, &grad),
                None => Ok(()),
            },
            Some(Edge::Node(node)) => match self.pending.get_mut(&node.id) {
                Some((_, sum)) => accumulate(sum.make_mut()?, 1.0, &grad),
                None => {
                    self.pending.insert(node.id, (node, grad.detach()));
                    Ok(())
                }
            },
        }
    }
}

/// sum = beta·sum + grad.
fn accumulate(mut sum: ViewMut, beta: f32, grad: &Tensor) -> Result<()> {
    if sum.len() != grad.numel() {
        let expected = format!("a gradient of {} elements", sum.len());
        return Err(Error::shape("backward", expected, format!("shape {}", grad.shape())));
    }
    match sum.device() {
        Device::Cpu => {
            let grad = grad.read()?;
            if beta == 0.0 {
                sum.write(|sum| sum.copy_from_slice(&grad))
            } else {
                sum.update(|sum| {
                    for_rows(sum, 1, 1, |first, sum| {
                        let grad = &grad[first..first + sum.len()];
                        vectorized(
                            #[inline(always)]
                            || simd::add_into(sum, grad),
                        );
                    })
                })
            }
        }
        Device::Cuda(_) => cuda::accumulate(sum, beta, grad),
        Device::Meta => Ok(()),
    }
}

/// A reshape copies nothing forward and nothing back.
pub(super) struct Reshape {
    pub(super) from: Shape,
}

impl Op for Reshape {
    fn backward(self: Box<Self>, grad: Tensor, to: &mut Sink) -> Result<()> {
        to.give(0, Tensor { shape: self.from, ..grad })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::{Group, Layout};

    fn one() -> Tensor {
        Tensor::scalar(1.0, Device::Cpu).unwrap()
    }

    #[test]
    fn a_graph_is_consumed_once() {
        let mut layout = Layout::new();
        let w = layout.add("w", &[1], Group::Decay).unwrap();
        let (params, mut grads) = layout.build_with(Device::Cpu, &[(w, &[2.0])]).unwrap();
        let y = params.get(w).reshape(&[]).unwrap();
        backward(y.clone(), one(), &mut grads).unwrap();
        assert_eq!(grads.get(w).unwrap().to_vec::<f32>().unwrap(), [1.0]);
        let again = backward(y, one(), &mut grads).unwrap_err();
        assert!(again.to_string().contains("already consumed"), "{again}");
    }

    #[test]
    fn a_long_graph_runs_backward_and_is_dropped_without_recursion() {
        let mut layout = Layout::new();
        let w = layout.add("w", &[1], Group::Decay).unwrap();
        let (params, mut grads) = layout.build_with(Device::Cpu, &[(w, &[2.0])]).unwrap();
        let chain = || (0..200_000).fold(params.get(w), |x, _| x.reshape(&[1]).unwrap());
        drop(chain());
        backward(chain().reshape(&[]).unwrap(), one(), &mut grads).unwrap();
        assert_eq!(grads.get(w).unwrap().to_vec::<f32>().unwrap(), [1.0]);
    }

    #[test]
    fn nothing_is_recorded_without_grad() {
        let mut layout = Layout::new();
        let w = layout.add("w", &[1], Group::Decay).unwrap();
        let (params, _) = layout.build_with(Device::Cpu, &[(w, &[2.0])]).unwrap();
        assert!(no_grad(|| params.get(w).reshape(&[]).unwrap()).edge().is_none());
        assert!(no_grad(|| with_grad(|| params.get(w).reshape(&[]).unwrap())).edge().is_some());
        assert!(params.get(w).reshape(&[]).unwrap().edge().is_some());
    }
}
