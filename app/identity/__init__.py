"""Who is calling: customers, operators, API keys, sessions."""
