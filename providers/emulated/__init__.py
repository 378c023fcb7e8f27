"""Emulated providers: the OpenAI wire over real HTTP, at the times of a measured deployment."""
