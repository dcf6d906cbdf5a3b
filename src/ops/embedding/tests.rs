use crate::DType;
use crate::ops::testing::*;
use crate::tensor::{Device, Tensor};

#[test]
fn equals_pytorch() {
    let golden = Golden::open("embedding");
    for case in ["odd", "same"] {
        let ids = golden.tensor(&format!("{case}/ids"));
        let at = golden.tensor(&format!("{case}/positions_ids"));
        check_case(&golden, case, &["tokens", "positions"], SUMS, &|x| {
            x[0].embedding(&ids, Some((&x[1], &at)))
        });
    }
}

#[test]
fn an_id_beyond_the_table_is_named() {
    let table = Tensor::zeros(&[5, 2], DType::F32, Device::Cpu).unwrap();
    let ids = Tensor::from_slice(&[4u32, 5], &[2], Device::Cpu).unwrap();
    let error = table.embedding(&ids, None).unwrap_err();
    assert_eq!(error.to_string(), "token id: expected below 5, found 5");
}

#[test]
fn sixteen_bit_tables_give_f32() {
    let golden = Golden::open("embedding");
    let ids = golden.tensor("odd/ids");
    let at = golden.tensor("odd/positions_ids");
    for dtype in [DType::F16, DType::BF16] {
        let [tokens, positions] =
            ["odd/tokens", "odd/positions"].map(|key| golden.tensor(key).cast(dtype).unwrap());
        let y = tokens.embedding(&ids, Some((&positions, &at))).unwrap();
        assert_eq!(y.dtype(), DType::F32);
        let [tokens, positions] = [tokens, positions].map(|x| x.cast(DType::F32).unwrap());
        let expected = tokens.embedding(&ids, Some((&positions, &at))).unwrap();
        assert_eq!(y.read().unwrap(), expected.read().unwrap(), "{dtype}");
    }
}
