"""Fakes of the ports, for tests of ours and of users; each passes the contract suite of the real adapter."""
