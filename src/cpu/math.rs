//! Functions of one `f32` without branches, so that loops over them vectorise.
