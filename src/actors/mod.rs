//! Who owns what, when it begins and when it ends.
