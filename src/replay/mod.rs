//! Reading back what happened, from the store alone.
