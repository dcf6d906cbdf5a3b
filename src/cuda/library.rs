//! stub
use crate::error::Result;
use std::path::PathBuf;
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Libraries {
    Real,
    Emulated(PathBuf),
}
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Library {
    pub path: PathBuf,
    pub version: (u32, u32),
}
pub struct Driver {}
pub fn open(_: Libraries) -> Result<&'static Driver> {
    Ok(&Driver {})
}
impl Driver {
    pub fn compiler(&self, _: u32) -> Result<super::nvrtc::Nvrtc> {
        Err(crate::Error::shape("", "", ""))
    }
}
impl std::fmt::Display for Libraries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}
