"""The data contract and everything that reads, checks, splits or writes tables of customers."""
