"""How the database came to be: Alembic's migrations, and the one call that applies them."""
