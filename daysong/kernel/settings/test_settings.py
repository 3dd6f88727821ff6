from __future__ import annotations

from pathlib import Path

import pytest

from daysong.kernel import settings
from daysong.kernel.settings import SettingsError, load, unknown

NEEDED = {
    "SITE_URL": "https://daysong.test",
    "DAYSONG_ADMIN_KEY": "a-long-admin-key",
    "DAYSONG_HASH_KEY": "a-long-hash-key-too",
    "OPENAI_API_KEY": "openai-key",
    "SUNO_API_KEY": "suno-key",
    "CLERK_FRONTEND_API_URL": "https://clerk.daysong.test",
}
PRODUCTION = NEEDED | {
    "DAYSONG_ENV": "production",
    "DATABASE_URL": "postgresql://daysong",
    "CLERK_WEBHOOK_SIGNING_SECRET": "whsec_c2VjcmV0",
    "CLERK_SECRET_KEY": "sk_x",
    "REVENUECAT_API_KEY": "sk_y",
    "REVENUECAT_PROJECT_ID": "proj_x",
    "REVENUECAT_WEBHOOK_SECRET": "a-webhook-secret",
    "VAPI_API_KEY": "a-vapi-key",
    "VAPI_PHONE_NUMBER_ID": "a-line",
    "VAPI_WEBHOOK_SECRET": "a-secret-of-vapi",
    "VAPI_CREDENTIAL_ID": "a-credential",
}


def problems(environ: dict[str, str]) -> dict[str, str]:
    """What is wrong, by setting."""
    with pytest.raises(SettingsError) as refused:
        load(environ)
    return {problem.name: problem.what for problem in refused.value.problems}


def test_everything_missing_is_named_at_once() -> None:
    """One start tells all that has to be set, each with what it is for."""
    with pytest.raises(SettingsError) as refused:
        load({})
    told = str(refused.value).splitlines()
    assert {line.partition(":")[0] for line in told} == set(NEEDED)
    assert len(told) == len(NEEDED)
    assert "OPENAI_API_KEY: missing: writes the lyrics" in told


def test_what_is_needed_is_enough() -> None:
    """Everything else has a value for development."""
    loaded = load(NEEDED)
    assert (loaded.environment, loaded.production, loaded.test_mode, loaded.database_url) == (
        "development", False, False, None
    )  # fmt: skip
    assert loaded.share_base_url == "https://daysong.test"
    assert loaded.data_dir.is_absolute()
    assert loaded.storage_url == str(loaded.data_dir / "files")
    assert loaded.openai.base_url == "https://api.openai.com/v1"
    assert loaded.suno.base_url == "https://api.sunoapi.org"


def test_no_secret_has_a_default() -> None:
    """Every key is asked for by name, or is not there."""
    for name in ("DAYSONG_ADMIN_KEY", "DAYSONG_HASH_KEY", "OPENAI_API_KEY", "SUNO_API_KEY"):
        assert set(problems({key: value for key, value in NEEDED.items() if key != name})) == {name}


def test_a_secret_may_come_from_a_file(tmp_path: Path) -> None:
    """NAME_FILE names a file with the value; the space around it does not count."""
    file = tmp_path / "key"
    file.write_text("  from-a-file\n", encoding="utf-8")
    environ = {key: value for key, value in NEEDED.items() if key != "SUNO_API_KEY"}
    assert load(environ | {"SUNO_API_KEY_FILE": str(file)}).suno.api_key == "from-a-file"
    both = NEEDED | {"SUNO_API_KEY_FILE": str(file)}
    assert load(both).suno.api_key == "suno-key"


def test_a_file_that_cannot_be_read_is_named_once(tmp_path: Path) -> None:
    """Missing, a folder, no text: the file's setting is named, and the one it stands for is not said to be missing."""
    no_text = tmp_path / "no-text"
    no_text.write_bytes(b"\xff\xfe\xfa")
    for file in (tmp_path / "missing", tmp_path, no_text):
        for name in ("SUNO_API_KEY", "SITE_URL"):
            environ = {key: value for key, value in NEEDED.items() if key != name} | {f"{name}_FILE": str(file)}
            with pytest.raises(SettingsError) as refused:
                load(environ)
            assert [problem.name for problem in refused.value.problems] == [f"{name}_FILE"]
            assert "cannot be read" in str(refused.value)


def test_an_empty_file_is_a_missing_setting(tmp_path: Path) -> None:
    """A secret that is not there yet is not taken for an empty one."""
    file = tmp_path / "empty"
    file.write_text("\n", encoding="utf-8")
    environ = {key: value for key, value in NEEDED.items() if key != "OPENAI_API_KEY"}
    assert set(problems(environ | {"OPENAI_API_KEY_FILE": str(file)})) == {"OPENAI_API_KEY"}


def test_blank_settings_are_missing_ones() -> None:
    """A name with nothing behind it, as deployment tools like to set."""
    assert set(problems(NEEDED | {"SUNO_API_KEY": "  ", "SITE_URL": ""})) == {"SUNO_API_KEY", "SITE_URL"}


def test_defaults_stand_in_for_what_is_not_set() -> None:
    """The sandbox fills in addresses and keys; what is set is stronger."""
    loaded = load({"SUNO_API_KEY": "mine"}, NEEDED | {"SUNO_BASE_URL": "http://127.0.0.1:8000/sandbox/suno/"})
    assert (loaded.suno.api_key, loaded.openai.api_key) == ("mine", "openai-key")
    assert loaded.suno.base_url == "http://127.0.0.1:8000/sandbox/suno"
    assert loaded.trusted_origins == ("http://127.0.0.1:8000",)


def test_addresses_are_checked() -> None:
    """Only web addresses, told by the name of the setting; a slash at the end is dropped."""
    wrong = {
        "SITE_URL": "daysong.test",
        "OPENAI_BASE_URL": "ftp://x",
        "SUNO_BASE_URL": "http://[",
        "CLERK_BASE_URL": "https://",
    }
    assert problems(NEEDED | wrong) == dict.fromkeys(wrong, "must start with https:// or http://")
    assert load(NEEDED | {"SITE_URL": "https://daysong.test//"}).site_url == "https://daysong.test"


@pytest.mark.parametrize("secret", ["whsec_", "whsec_x", "whsec_no+base64?", "a secret", "whsec_é"])
def test_a_signing_secret_must_be_one(secret: str) -> None:
    """A secret copied badly would refuse every webhook: it is noticed at the start."""
    assert set(problems(NEEDED | {"CLERK_WEBHOOK_SIGNING_SECRET": secret})) == {"CLERK_WEBHOOK_SIGNING_SECRET"}


@pytest.mark.parametrize(("text", "meaning"), [("1", True), ("TRUE", True), ("on", True), ("0", False), ("No", False)])
def test_a_flag_is_a_yes_or_a_no(text: str, meaning: bool) -> None:
    """In the usual spellings; anything else is a mistake and not a no."""
    assert load(NEEDED | {"DAYSONG_TEST": text}).test_mode is meaning


def test_a_flag_that_is_neither_is_a_mistake() -> None:
    """It is named, and not guessed at."""
    assert set(problems(NEEDED | {"DAYSONG_TEST": "maybe"})) == {"DAYSONG_TEST"}
    assert set(problems(NEEDED | {"DAYSONG_ENV": "staging"})) == {"DAYSONG_ENV"}


def test_products_are_pairs_of_a_product_and_a_plan() -> None:
    """A product of Google's has a colon in it; an unknown plan is reported."""
    text = " eveokee:base-1 = weekly, rc_promo_premium=monthly ,"
    assert load(NEEDED | {"REVENUECAT_PRODUCTS": text}).revenuecat.products == {
        "eveokee:base-1": "weekly", "rc_promo_premium": "monthly",
    }  # fmt: skip
    for wrong in ("a=daily", "weekly", "=weekly", "a=weekly,b"):
        assert set(problems(NEEDED | {"REVENUECAT_PRODUCTS": wrong})) == {"REVENUECAT_PRODUCTS"}


@pytest.mark.parametrize(
    "name",
    [
        "REVENUECAT_API_KEY",
        "REVENUECAT_PROJECT_ID",
        "REVENUECAT_WEBHOOK_SECRET",
        "VAPI_API_KEY",
        "VAPI_PHONE_NUMBER_ID",
        "VAPI_WEBHOOK_SECRET",
        "VAPI_CREDENTIAL_ID",
    ],
)
def test_production_needs_revenuecat_and_vapi(name: str) -> None:
    """Development does without."""
    without = {key: value for key, value in PRODUCTION.items() if key != name}
    assert set(problems(without)) == {name}
    assert load(NEEDED).revenuecat.api_key is None
    assert load(NEEDED).vapi.api_key is None


@pytest.mark.parametrize(("parts", "prefix"), [("billing", "VAPI"), ("phone, push", "REVENUECAT")])
def test_g65_settings_of_a_part_that_is_off_are_not_asked_for(parts: str, prefix: str) -> None:
    """Production without phone calls needs nothing of VAPI, without purchases nothing of RevenueCat."""
    without = {key: value for key, value in PRODUCTION.items() if not key.startswith(prefix)}
    assert load(without | {"MODULES": parts}).production
    assert all(name.startswith(prefix) for name in problems(without))
    assert set(problems(PRODUCTION | {"MODULES": "phones"})) == {"MODULES"}
    assert load(PRODUCTION | {"MODULES": "none"}).parts == ()
    assert load(PRODUCTION | {"MODULES": "phone"}).revenuecat.api_key is None


@pytest.mark.parametrize("number", ["0", "-1", "many", "1.5", "10001"])
def test_the_number_of_lines_is_a_whole_number(number: str) -> None:
    """Ten by default, as at VAPI."""
    assert load(NEEDED).vapi.max_concurrent_calls == 10
    assert load(NEEDED | {"VAPI_MAX_CONCURRENT_CALLS": "3"}).vapi.max_concurrent_calls == 3
    assert set(problems(NEEDED | {"VAPI_MAX_CONCURRENT_CALLS": number})) == {"VAPI_MAX_CONCURRENT_CALLS"}


def test_production_with_all_it_needs_starts() -> None:
    """And trusts no address that is not public."""
    loaded = load(PRODUCTION)
    assert loaded.production
    assert loaded.trusted_origins == ()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"DATABASE_URL": ""}, "DATABASE_URL"),
        ({"DAYSONG_TEST": "1"}, "DAYSONG_TEST"),
        ({"DAYSONG_ADMIN_KEY": "short"}, "DAYSONG_ADMIN_KEY"),
        ({"DAYSONG_HASH_KEY": "short"}, "DAYSONG_HASH_KEY"),
        ({"CLERK_SECRET_KEY": ""}, "CLERK_SECRET_KEY"),
        ({"CLERK_WEBHOOK_SIGNING_SECRET": ""}, "CLERK_WEBHOOK_SIGNING_SECRET"),
        ({"SITE_URL": "http://daysong.test", "SHARE_BASE_URL": "https://daysong.test"}, "SITE_URL"),
        ({"SHARE_BASE_URL": "http://daysong.test"}, "SHARE_BASE_URL"),
    ],
)
def test_production_refuses_what_is_only_for_development(change: dict[str, str], named: str) -> None:
    """An embedded database, test mode, a short key, a link without https."""
    assert set(problems(PRODUCTION | change)) == {named}
    assert load((PRODUCTION | change) | {"DAYSONG_ENV": "development"}).environment == "development"


def test_functions_of_tests_need_test_mode_and_are_refused_in_production() -> None:
    """Wherever they would be ignored, the process says so instead of starting without them."""
    added = {"DAYSONG_TEST_FUNCTIONS": "rehearsal.conformance"}
    assert set(problems(NEEDED | added)) == {"DAYSONG_TEST_FUNCTIONS"}
    assert load(NEEDED | added | {"DAYSONG_TEST": "1"}).test_functions == "rehearsal.conformance"
    assert set(problems(PRODUCTION | added | {"DAYSONG_TEST": "1"})) == {"DAYSONG_TEST", "DAYSONG_TEST_FUNCTIONS"}


def test_a_mistake_is_told_without_its_secret() -> None:
    """What is printed at a failed start may be read by many."""
    wrong = PRODUCTION | {"DAYSONG_ADMIN_KEY": "tellnobody", "SITE_URL": "sesame", "DAYSONG_TEST": "password"}
    with pytest.raises(SettingsError) as refused:
        load(wrong)
    for secret in ("tellnobody", "sesame", "password"):
        assert secret not in str(refused.value)


def test_settings_with_problems_can_be_read_for_a_report() -> None:
    """`read` gives both, so that all can be told in words."""
    found, wrong = settings.read({"DAYSONG_ENV": "production"})
    assert found.production
    assert {problem.name for problem in wrong} >= set(NEEDED) | {"DATABASE_URL"}


@pytest.mark.parametrize("name", ["DAYSONG_TEST_LIMITS", "DAYSONG_TEST_FUNCTIONS", "DAYSONG_TEST", "LIMIT_SUNO"])
def test_a_setting_is_never_taken_for_a_misspelled_one(name: str) -> None:
    """Whatever the others are: which settings exist does not depend on their values."""
    assert unknown({name: "1"}) == []
    assert unknown({f"{name}X": "1"}) != []
