import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.fleet.vault import SECRET_LETTERS_MAX, Vault, VaultError, prefix_of

NONCE = bytes(range(12))
SECRET = "sk-live-7f3a9c1d5e8b2f4a6c0d"
printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=200)


@given(printable, st.binary(min_size=12, max_size=12))
def test_what_is_sealed_opens_again_and_its_sealed_form_does_not_hold_it(secret: str, nonce: bytes) -> None:
    vault = Vault("market secret")
    sealed = vault.seal(secret, "p/crd_1", nonce)
    assert vault.open(sealed, "p/crd_1") == secret
    assert len(secret) < 6 or secret not in sealed


def test_a_sealed_credential_moved_to_another_provider_cannot_be_opened() -> None:
    vault = Vault("market secret")
    sealed = vault.seal(SECRET, "p/crd_1", NONCE)
    with pytest.raises(VaultError, match="belongs elsewhere"):
        vault.open(sealed, "q/crd_1")


def test_every_changed_letter_is_noticed() -> None:
    vault = Vault("market secret")
    sealed = vault.seal(SECRET, "p/crd_1", NONCE)
    for at in range(len(sealed)):
        changed = sealed[:at] + ("A" if sealed[at] != "A" else "B") + sealed[at + 1 :]
        with pytest.raises(VaultError) as refused:
            vault.open(changed, "p/crd_1")
        assert SECRET not in str(refused.value)


def test_a_former_secret_key_still_opens_and_only_the_current_one_seals() -> None:
    sealed = Vault("old").seal(SECRET, "p/crd_1", NONCE)
    rotated = Vault("new", former=("older", "old"))
    assert rotated.open(sealed, "p/crd_1") == SECRET
    assert not rotated.is_current(sealed)
    anew = rotated.seal(SECRET, "p/crd_1", NONCE)
    assert rotated.is_current(anew)
    assert Vault("new").open(anew, "p/crd_1") == SECRET
    with pytest.raises(VaultError, match="another secret key than this process has"):
        Vault("new").open(sealed, "p/crd_1")


def test_without_a_secret_key_nothing_is_sealed_and_the_message_says_what_to_set() -> None:
    with pytest.raises(VaultError, match="set GOODPUT_SECRET_KEY"):
        Vault("").seal(SECRET, "p/crd_1", NONCE)
    with pytest.raises(VaultError, match="GOODPUT_SECRET_KEY"):
        Vault("").open(Vault("old").seal(SECRET, "p/crd_1", NONCE), "p/crd_1")
    assert Vault("", former=("old",)).open(Vault("old").seal(SECRET, "p", NONCE), "p") == SECRET


@pytest.mark.parametrize("secret", ["", "a\nb", "ä", " a", "a ", "x" * (SECRET_LETTERS_MAX + 1), "a\x00"])
def test_what_no_header_can_carry_is_refused_without_being_repeated(secret: str) -> None:
    with pytest.raises(VaultError) as refused:
        Vault("market secret").seal(secret, "p", NONCE)
    assert len(secret.strip()) < 2 or secret not in str(refused.value)


def test_a_fingerprint_tells_secrets_apart_and_depends_on_the_markets_key() -> None:
    vault = Vault("market secret")
    assert vault.fingerprint(SECRET) == vault.fingerprint(SECRET)
    assert len({vault.fingerprint(SECRET), vault.fingerprint(SECRET + "x"), Vault("other").fingerprint(SECRET)}) == 3
    assert prefix_of("short-secret") == ""


def test_a_nonce_of_another_length_is_refused() -> None:
    with pytest.raises(VaultError, match="a nonce has 12 bytes, got 3"):
        Vault("market secret").seal(SECRET, "p", b"abc")
