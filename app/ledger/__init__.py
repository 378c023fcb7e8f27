"""Double entry: accounts, holds, transfers, journal. The only truth about money."""
