//! stub
use crate::error::Result;
pub struct Nvrtc {
    pub library: super::library::Library,
}
pub struct Cubin {
    pub bytes: Vec<u8>,
    pub log: String,
}
impl Nvrtc {
    pub fn compile(&self, _: &str, _: &str, _: &[(&str, &str)], _: &[String]) -> Result<Cubin> {
        Ok(Cubin { bytes: vec![], log: String::new() })
    }
}
