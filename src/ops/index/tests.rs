use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Gradients, Group, Layout, Tensor, backward};

fn ids(values: &[u32], dims: &[usize], device: Device) -> Tensor {
    Tensor::from_slice(values, dims, device).unwrap()
}

#[test]
fn index_select_equals_pytorch() {
    let golden = Golden::open("layout");
    for (case, axis) in [("index_select_0", 0), ("index_select_1", 1)] {
        let places = golden.tensor(&format!("{case}/ids"));
        let values = places.to_vec::<u32>().unwrap();
        let forward =
            |x: &[Tensor]| x[0].index_select(axis, &ids(&values, places.dims(), x[0].device()));
        check_case(&golden, case, &["x"], SUMS, &forward);
        let dy = golden.tensor(&format!("{case}/dy"));
        check_storage(case, &golden.inputs(case, &["x"]), &dy, &forward);
    }
}

#[test]
fn gather_reads_what_its_ids_say_along_any_axis() {
    let x: Vec<f32> = (0..24).map(|i| i as f32).collect();
    let x = Tensor::from_slice(&x, &[2, 3, 4], Device::Cpu).unwrap();
    for (axis, dims) in [(0, [5, 3, 4]), (1, [2, 2, 4]), (2, [2, 3, 7])] {
        let size = x.dims()[axis];
        let n = dims.iter().product::<usize>();
        let places: Vec<u32> = (0..n).map(|i| (i * 5 % 7 % size) as u32).collect();
        let forward = |x: &[Tensor]| x[0].gather(axis, &ids(&places, &dims, x[0].device()));
        let y = forward(std::slice::from_ref(&x)).unwrap();
        let expected: Vec<f32> = (0..n)
            .map(|i| {
                let mut at = [i / dims[2] / dims[1], i / dims[2] % dims[1], i % dims[2]];
                at[axis] = places[i] as usize;
                (at[0] * 12 + at[1] * 4 + at[2]) as f32
            })
            .collect();
        assert_eq!(y.to_vec::<f32>().unwrap(), expected, "axis {axis}");
        let dy = y.mul_scalar(0.1).unwrap();
        check_finite_differences("gather", std::slice::from_ref(&x), &dy, &forward);
        check_storage("gather", std::slice::from_ref(&x), &dy, &forward);
    }
}

#[test]
fn every_dtype_is_read() {
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::U32] {
        let x = ids(&[10, 11, 12, 13], &[2, 2], Device::Cpu).cast(dtype).unwrap();
        on_every_device(|device| {
            let x = x.to_device(device).unwrap();
            let read = |y: Tensor| {
                let y = y.to_device(Device::Cpu).unwrap();
                y.cast(DType::U32).unwrap().to_vec::<u32>().unwrap()
            };
            let column = ids(&[1], &[1], device);
            assert_eq!(read(x.index_select(1, &column).unwrap()), [11, 13], "{dtype}");
            let places = ids(&[1, 0], &[2, 1], device);
            assert_eq!(read(x.gather(1, &places).unwrap()), [11, 12], "{dtype}");
        });
    }
}

#[test]
fn a_card_agrees_along_any_axis_whatever_repeats() {
    let spread = |count: usize, size: usize| -> Vec<u32> {
        (0..count).map(|i| (i * 7919 % size) as u32).collect()
    };
    // Enough places for several tiles and merges, and runs of several chunks.
    let cases: [([usize; 3], usize, Vec<u32>); 7] = [
        ([1, 1, 1], 1, vec![0]),
        ([2, 3, 5], 1, vec![]),
        ([31, 33, 2], 0, spread(70, 31)),
        ([2, 33, 31], 1, vec![32; 769]),
        ([3, 2, 31], 2, spread(50, 31)),
        ([50257, 1, 1], 0, spread(1100, 50257)),
        ([1, 7, 769], 1, vec![6, 6, 0]),
    ];
    for (dims, axis, places) in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let x = [normal(&dims, 3)];
            let what = format!("{dims:?} along {axis}");
            agree(&format!("select {what}"), &x, dtype, tolerance(dtype), &|x| {
                x[0].index_select(axis, &ids(&places, &[places.len()], x[0].device()))
            });
            let mut wanted = dims;
            wanted[axis] = places.len().min(5);
            let each: Vec<u32> =
                spread(wanted.iter().product(), dims[axis]).iter().map(|&id| id / 2).collect();
            agree(&format!("gather {what}"), &x, dtype, tolerance(dtype), &|x| {
                x[0].gather(axis, &ids(&each, &wanted, x[0].device()))
            });
        }
    }
}

#[test]
fn on_a_card_an_id_beyond_the_axis_reads_nan_and_its_gradient_goes_nowhere() {
    on_cuda(|device| {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let mut layout = Layout::new();
            let param = layout.add("x", &[2, 2], Group::Decay).unwrap();
            let mut params = layout.build(dtype, device).unwrap();
            params.set(param, &[1.0; 4]).unwrap();
            let mut grads = Gradients::new(&params).unwrap();
            let x = params.get(param);
            let selected = x.index_select(0, &ids(&[1, 2], &[2], device)).unwrap();
            let gathered = x.gather(1, &ids(&[1, u32::MAX], &[2, 1], device)).unwrap();
            for (y, inside) in [(selected, 2), (gathered, 1)] {
                let values = y.read().unwrap().into_owned();
                assert!(values[..inside].iter().all(|&x| x == 1.0), "{dtype}: {values:?}");
                assert!(values[inside..].iter().all(|x| x.is_nan()), "{dtype}: {values:?}");
                let seed = Tensor::full(1.0, y.dims(), dtype, device).unwrap();
                backward(y, seed, &mut grads).unwrap();
            }
            let sums = grads.get(param).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(sums, [0.0, 1.0, 1.0, 1.0], "{dtype}");
        }
    });
}

#[test]
fn gradients_add_up_in_order_for_any_number_of_threads() {
    // Terms whose sum depends on the order of addition.
    let n = 20_000;
    let dy: Vec<f32> = (0..n).map(|i| 1.0 / (1 + i % 977) as f32).collect();
    let dy = Tensor::from_slice(&dy, &[n, 1], Device::Cpu).unwrap();
    let places: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
    let places = ids(&places, &[n], Device::Cpu);
    let x = Tensor::zeros(&[3, 1], DType::F32, Device::Cpu).unwrap();
    let with_threads = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let forward = |x: &[Tensor]| x[0].index_select(0, &places);
        pool.install(|| gradients(std::slice::from_ref(&x), &dy, &forward)).remove(0)
    };
    let (one, three) = (with_threads(1), with_threads(3));
    assert_eq!(one.to_vec::<f32>().unwrap(), three.to_vec::<f32>().unwrap());
    assert!(one.to_vec::<f32>().unwrap().iter().all(|&sum| sum > 1.0));
}

#[test]
fn empty_ids_pass_and_wrong_ones_are_named() {
    let x = Tensor::zeros(&[2, 3], DType::F32, Device::Cpu).unwrap();
    let at = |values: &[u32], dims: &[usize]| ids(values, dims, Device::Cpu);
    assert_eq!(x.index_select(0, &at(&[], &[0])).unwrap().dims(), [0, 3]);
    assert_eq!(x.gather(1, &at(&[], &[2, 0])).unwrap().dims(), [2, 0]);
    let cases = [
        (x.index_select(1, &at(&[0, 3], &[2])), "index_select: id: expected below 3, found 3"),
        (
            x.index_select(1, &at(&[0], &[1, 1])),
            "index_select: ids: expected one axis, found [1, 1]",
        ),
        (x.index_select(0, &x), "index_select: ids: expected dtype u32, found f32"),
        (x.gather(0, &at(&[2, 0, 0], &[1, 3])), "gather: id: expected below 2, found 2"),
        (
            x.gather(0, &at(&[0], &[1, 1])),
            "gather: ids: expected shape [2, 3] but for axis 0, found [1, 1]",
        ),
    ];
    for (result, expected) in cases {
        assert_eq!(result.unwrap_err().to_string(), expected);
    }
}
