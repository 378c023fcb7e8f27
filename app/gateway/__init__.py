"""The customer API: one request from first byte to settled ledger entry."""
