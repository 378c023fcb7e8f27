"""What each kind of operator may do; pure."""

from enum import StrEnum


class Permission(StrEnum):
    """One thing that needs a permission beyond looking."""

    SEE = "see"
    RUN_FLEET = "run_fleet"
    RUN_CUSTOMERS = "run_customers"
    GRANT_CREDIT = "grant_credit"
    RUN_PRICES = "run_prices"
    RUN_OPERATORS = "run_operators"


class Role(StrEnum):
    """What an operator is trusted with."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    FINANCE = "finance"
    ADMIN = "admin"

    def may(self, permission: Permission) -> bool:
        """True when this role includes ``permission``."""
        return permission in _PERMISSIONS[self]


_PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset({Permission.SEE}),
    Role.OPERATOR: frozenset({Permission.SEE, Permission.RUN_FLEET, Permission.RUN_CUSTOMERS, Permission.RUN_PRICES}),
    Role.FINANCE: frozenset({Permission.SEE, Permission.RUN_CUSTOMERS, Permission.GRANT_CREDIT, Permission.RUN_PRICES}),
    Role.ADMIN: frozenset(Permission),
}
