//! What carries effects of the kind `mail` out.
