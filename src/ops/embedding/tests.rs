use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

fn ids(values: &[u32], device: Device) -> Tensor {
    Tensor::from_slice(values, &[values.len()], device).unwrap()
}

#[test]
fn equals_pytorch() {
    let golden = Golden::open("embedding");
    for case in ["odd", "same"] {
        let [ids, at] = ["ids", "positions_ids"].map(|key| golden.tensor(&format!("{case}/{key}")));
        check_case(&golden, case, &["tokens", "positions"], SUMS, &|x| {
            let device = x[0].device();
            let at = at.to_device(device)?;
            x[0].embedding(&ids.to_device(device)?, Some((&x[1], &at)))
        });
    }
}

#[test]
fn a_card_agrees_whatever_repeats() {
    let random = |count: u32, rows: u32| -> Vec<u32> {
        (0..count).map(|i| i.wrapping_mul(2654435761) % rows).collect()
    };
    let cases: [(&str, usize, usize, Vec<u32>); 7] = [
        ("one", 1, 1, vec![0]),
        ("narrow", 5, 31, random(33, 5)),
        ("all equal", 9, 33, vec![8; 300]),
        ("runs that end with a chunk", 3, 2, [vec![0; 32], vec![1; 64], vec![2; 33]].concat()),
        ("wide", 7, 769, random(40, 7)),
        ("widest", 2, 50257, vec![1, 0, 1]),
        ("the largest vocabulary", 250_880, 1, random(600, 250_880)),
    ];
    for (what, rows, width, places) in cases {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            let table = normal(&[rows, width], 1);
            agree(what, std::slice::from_ref(&table), dtype, tolerance(dtype), &|x| {
                let ids = ids(&places, x[0].device());
                // One table twice: the second time its gradient is added to.
                x[0].embedding(&ids, Some((&x[0], &ids)))
            });
        }
    }
}

#[test]
fn sixteen_bit_tables_give_f32() {
    let places = ids(&[2, 0, 2], Device::Cpu);
    for dtype in [DType::F16, DType::BF16] {
        let table = normal(&[3, 5], 1).cast(dtype).unwrap();
        let y = table.embedding(&places, Some((&table, &places))).unwrap();
        let wide = table.cast(DType::F32).unwrap();
        let expected = wide.embedding(&places, Some((&wide, &places))).unwrap();
        assert_eq!(y.dtype(), DType::F32);
        assert_eq!(y.read().unwrap(), expected.read().unwrap(), "{dtype}");
    }
}

#[test]
fn an_id_beyond_the_table_is_named() {
    let table = Tensor::zeros(&[5, 2], DType::F32, Device::Cpu).unwrap();
    let error = table.embedding(&ids(&[4, 5], Device::Cpu), None).unwrap_err();
    assert_eq!(error.to_string(), "token id: expected below 5, found 5");
    let narrow = table.cast(DType::F16).unwrap();
    let at = ids(&[0], Device::Cpu);
    let error = table.embedding(&at, Some((&narrow, &at))).unwrap_err();
    assert_eq!(error.to_string(), "embedding: positions: expected dtype f32, found f16");
}

#[test]
fn on_a_card_an_id_beyond_the_table_gives_nan() {
    on_cuda(|device| {
        let table = Tensor::full(1.0, &[5, 2], DType::F16, device).unwrap();
        let y = table.embedding(&ids(&[4, 5, u32::MAX], device), None).unwrap();
        let y = y.to_vec::<f32>().unwrap();
        assert!(y[..2] == [1.0; 2] && y[2..].iter().all(|x| x.is_nan()), "{y:?}");
        let [inside, beyond] = [[4], [5]].map(|id| ids(&id, device));
        let y = table.embedding(&inside, Some((&table, &beyond))).unwrap();
        assert!(y.to_vec::<f32>().unwrap().iter().all(|x| x.is_nan()));
    });
}
