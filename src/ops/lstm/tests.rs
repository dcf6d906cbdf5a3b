use crate::DType;
use crate::error::Result;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

const INPUTS: [&str; 7] =
    ["x", "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0", "h0", "c0"];

type Outputs = (Tensor, (Tensor, Tensor));

fn lstm(x: &[Tensor], positions: Option<&Tensor>) -> Result<Outputs> {
    x[0].lstm(&x[1], &x[2], &x[3], &x[4], (&x[5], &x[6].cast(DType::F32)?), positions)
}

/// y, then the last h and c as if they were two steps more; the cell is f32 in every storage.
fn all_outputs(x: &[Tensor], positions: Option<&Tensor>) -> Result<Tensor> {
    let positions = positions.map(|positions| positions.to_device(x[0].device())).transpose()?;
    let (y, (h, c)) = lstm(x, positions.as_ref())?;
    assert_eq!((h.dtype(), c.dtype()), (y.dtype(), DType::F32));
    let c = c.cast(y.dtype())?;
    Tensor::concat(&[&y, &h.unsqueeze(1)?, &c.unsqueeze(1)?], 1)
}

/// Normal numbers for every input, small enough that gates are not all open or shut.
fn inputs(batch: usize, time: usize, input: usize, hidden: usize) -> Vec<Tensor> {
    let gates = 4 * hidden;
    let shapes: [&[usize]; 7] = [
        &[batch, time, input],
        &[gates, input],
        &[gates, hidden],
        &[gates],
        &[gates],
        &[batch, hidden],
        &[batch, hidden],
    ];
    let scale = 1.0 / (hidden.max(input) as f32).sqrt();
    let filled = |(seed, dims): (usize, &&[usize])| {
        let scale = if seed == 1 || seed == 2 { scale } else { 1.0 };
        normal(dims, seed as u64).mul_scalar(scale).unwrap()
    };
    shapes.iter().enumerate().map(filled).collect()
}

#[test]
fn equals_pytorch() {
    let golden = Golden::open("lstm");
    for case in golden.cases() {
        // Where documents start within the rows and at their beginning; one row goes on from its state.
        let positions = (case == "documents").then(|| golden.tensor("documents/positions"));
        let all_outputs = |x: &[Tensor]| all_outputs(x, positions.as_ref());
        check_case(&golden, &case, &INPUTS, SUMS, &all_outputs);
        // The terms of 33 steps add up to ten times their sum, so its rounding in 16 bits is more
        // than that of the largest result.
        if case != "long" {
            let dy = golden.tensor(&format!("{case}/dy"));
            check_storage(&case, &golden.inputs(&case, &INPUTS), &dy, &all_outputs);
        }
    }
}

#[test]
fn a_card_agrees() {
    let all_outputs = |x: &[Tensor]| all_outputs(x, None);
    for (batch, time, input, hidden) in [(1, 1, 1, 1), (2, 3, 33, 31), (31, 2, 5, 33)] {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let what = format!("lstm {batch}×{time}, {input} to {hidden}");
            let x = inputs(batch, time, input, hidden);
            agree(&what, &x, dtype, tolerance(dtype), &all_outputs);
        }
    }
    let x = inputs(1, 2, 3, 769);
    agree("wide lstm", &x, DType::F32, SUMS, &all_outputs);
}

#[test]
fn a_sequence_in_two_pieces_is_the_whole() {
    let x = inputs(2, 5, 3, 7);
    let dy = normal(&[2, 5, 7], 11);
    let whole = gradients(&x, &dy, &|x| Ok(lstm(x, None)?.0));
    let pieces = gradients(&x, &dy, &|x| {
        let (front, back) = (x[0].narrow(1, 0, 2)?, x[0].narrow(1, 2, 3)?);
        let (y, (h, c)) = front.lstm(&x[1], &x[2], &x[3], &x[4], (&x[5], &x[6]), None)?;
        let (z, _) = back.lstm(&x[1], &x[2], &x[3], &x[4], (&h, &c), None)?;
        Tensor::concat(&[&y, &z], 1)
    });
    for ((whole, pieces), name) in whole.iter().zip(&pieces).zip(INPUTS) {
        assert_close(name, pieces, whole, SUMS);
    }
}

#[test]
fn a_document_is_what_it_is_alone() {
    let x = inputs(2, 7, 3, 5);
    let positions = [[4u32, 5, 0, 1, 2, 0, 1], [0, 0, 1, 0, 1, 2, 3]];
    let positions = Tensor::from_slice(&positions.concat(), &[2, 7], Device::Cpu).unwrap();
    let packed = lstm(&x, Some(&positions)).unwrap().0;
    let zeros = Tensor::zeros(&[1, 5], DType::F32, Device::Cpu).unwrap();
    for (row, start, len) in [(0, 2, 3), (0, 5, 2), (1, 0, 1), (1, 1, 2), (1, 3, 4)] {
        let cut = |x: &Tensor| x.narrow(0, row, 1).unwrap().narrow(1, start, len).unwrap();
        let state = (&zeros, &zeros);
        let alone = cut(&x[0]).lstm(&x[1], &x[2], &x[3], &x[4], state, None).unwrap().0;
        assert_close(&format!("row {row} from {start}"), &cut(&packed), &alone, SUMS);
    }
    // The gradients of the first document's outputs reach nothing that stands behind it.
    let dy = Tensor::concat(
        &[&normal(&[2, 2, 5], 3), &Tensor::zeros(&[2, 5, 5], DType::F32, Device::Cpu).unwrap()],
        1,
    );
    let grads = gradients(&x, &dy.unwrap(), &|x| Ok(lstm(x, Some(&positions))?.0));
    let of_state = grads[5].to_vec::<f32>().unwrap();
    assert!(of_state[..5].iter().all(|d| *d != 0.0), "the first row goes on from its state");
    assert_eq!(of_state[5..], [0.0; 5], "the second begins with a document");
}

#[test]
fn the_last_state_alone_has_gradients() {
    let values = inputs(2, 3, 1, 2);
    let mut layout = Layout::new();
    let params: Vec<_> = (values.iter().zip(INPUTS))
        .map(|(x, name)| layout.add(name, x.dims(), Group::Decay).unwrap())
        .collect();
    let values: Vec<_> = values.iter().map(|x| x.to_vec::<f32>().unwrap()).collect();
    let pairs: Vec<_> = params.iter().copied().zip(values.iter().map(Vec::as_slice)).collect();
    let (arena, mut grads) = layout.build_with(Device::Cpu, &pairs).unwrap();
    let gradient = |forward: &dyn Fn(&[Tensor]) -> Tensor, grads: &mut Gradients| {
        grads.clear();
        let x: Vec<Tensor> = params.iter().map(|param| arena.get(*param)).collect();
        backward(forward(&x), normal(&[2, 2], 5), grads).unwrap();
        params.iter().map(|p| grads.get(*p).unwrap().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    };
    let run = |x: &[Tensor]| lstm(x, None).unwrap();
    let last = gradient(&|x| run(x).1.0, &mut grads);
    let cut = |x: &[Tensor]| run(x).0.narrow(1, 2, 1).unwrap().reshape(&[2, 2]).unwrap();
    assert_eq!(last, gradient(&cut, &mut grads));
    assert_ne!(last, gradient(&|x| run(x).1.1, &mut grads));
}

#[test]
fn what_does_not_fit_is_named() {
    let x = inputs(2, 3, 5, 7);
    let refused = |x: &[Tensor], positions: Option<&Tensor>| {
        let state = (&x[5], &x[6]);
        x[0].lstm(&x[1], &x[2], &x[3], &x[4], state, positions).unwrap_err().to_string()
    };
    let run = |x: &[Tensor]| refused(x, None);
    let with = |at: usize, tensor: Tensor| {
        let mut x = x.clone();
        x[at] = tensor;
        run(&x)
    };
    let zeros = |dims: &[usize]| Tensor::zeros(dims, DType::F32, Device::Cpu).unwrap();
    assert_eq!(with(1, zeros(&[28, 4])), "lstm: w_ih: expected shape [28, 5], found [28, 4]");
    assert_eq!(with(6, zeros(&[1, 7])), "lstm: c0: expected shape [2, 7], found [1, 7]");
    let half = x[6].cast(DType::F16).unwrap();
    assert_eq!(with(6, half), "lstm: c0: expected dtype f32, found f16");
    assert_eq!(
        with(0, zeros(&[2, 0, 5])),
        "lstm: input: expected [batch, time, input] of a step or more, and w_hh [4·hidden, hidden], \
         found [2, 0, 5] and [28, 7]"
    );
    let positions = Tensor::zeros(&[2, 4], DType::U32, Device::Cpu).unwrap();
    let message = refused(&x, Some(&positions));
    assert_eq!(message, "lstm: positions: expected shape [2, 3], found [2, 4]");
    let message = refused(&x, Some(&zeros(&[2, 3])));
    assert!(message.starts_with("lstm: positions") && message.ends_with("f32"), "{message}");
}
