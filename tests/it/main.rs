//! One integration binary: it links once.

mod classify_corpora;
mod causes_doc;
