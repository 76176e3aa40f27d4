"""Names that programs use although Ray does not document them."""
