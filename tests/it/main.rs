//! One integration binary: it links once.

mod causes_doc;
mod classify_corpora;
