"""`nymgate account` and `nymgate tickets` against a paying local network: in processes of their own where terminals,
signals and arguments matter."""

import os
import pty
import select
import signal
import subprocess
import time

import pytest

from tests.nymgate.paid_world import LIMIT_SECONDS, NYM, new_phrase
from tests.nymgate.person import NYMGATE, Person

pytestmark = pytest.mark.timeout(300)  # many processes, each given its time on a busy machine


@pytest.mark.slow
def test_the_phrase_comes_from_standard_input_or_a_file_and_is_kept_sealed(person, tmp_path):
    assert person.json("account", "get", code=2)["code"] == "E_NO_ACCOUNT"
    first = person.process("account", "set", "--location", "blockchain", stdin=person.phrase + "\n")
    assert (first.returncode, first.stderr) == (0, "")
    address = person.run("account", "get").stdout.strip()
    assert address.startswith("n1")
    assert address in first.stdout
    again = person.json("account", "set", stdin=new_phrase(), code=2)
    assert "set already" in again["what"]
    assert person.json("account", "get")["address"] == address
    words = person.phrase.split()
    for path in (tmp_path / ".local").rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
            assert not any(" ".join(words[i : i + 2]).encode() in path.read_bytes() for i in range(23)), path
    assert person.run("account", "forget").returncode == 2, "nobody to ask"
    assert person.json("account", "forget", "--yes")["forgotten"] == address
    file = tmp_path / "phrase"
    file.write_text(f"  {person.phrase.upper()} \n")
    assert person.json("account", "set", "--phrase-file", file)["address"] == address


@pytest.mark.parametrize("form", ["one", "words", "option"])
def test_a_phrase_in_the_arguments_is_refused_and_not_repeated(person, form):
    words = {"one": [person.phrase], "words": person.phrase.split(), "option": [f"--phrase={person.phrase}"]}
    done = (person.process if form == "one" else person.run)("account", "set", *words[form])
    assert done.returncode == 2
    if form != "option":
        assert "nymgate account set" in done.stderr
        assert "--phrase-file" in done.stderr
    assert person.json("account", "get", code=2)["code"] == "E_NO_ACCOUNT"


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda words: words[:-1], "23"),
        (lambda words: [*words[:4], "nonsens", *words[5:]], "Word 5"),
        (lambda words: [], "No phrase"),
    ],
)
def test_a_wrong_phrase_is_told_by_position(person, change, said):
    error = person.json("account", "set", stdin=" ".join(change(person.phrase.split())), code=2)
    assert said in error["what"]
    assert "nonsens" not in error["what"]


def test_a_phrase_may_come_from_a_secret_file(person, tmp_path):
    file = tmp_path / "secret"
    file.write_text(person.phrase)
    given = {"NYMGATE_ACCOUNT__PHRASE_FILE": str(file)}
    shown = person.json("account", "get", **given)
    assert shown["phrase"] == "configuration"
    assert person.json("account", "get", code=2)["code"] == "E_NO_ACCOUNT"
    assert person.json("account", "set", stdin=new_phrase(), code=2, **given)["code"] == "E_CONFIG"
    assert person.json("account", "forget", "--yes", code=2, **given)["code"] == "E_CONFIG"
    (tmp_path / "nymgate.account.phrase").write_text(person.phrase)
    assert person.json("account", "get", CREDENTIALS_DIRECTORY=str(tmp_path))["address"] == shown["address"]


def test_the_prompt_does_not_show_what_is_typed(person):
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child is another program at once
        os.execvpe(NYMGATE[0], [*NYMGATE, "account", "set"], person.environ)
    shown = read_until(terminal, b"not shown")
    os.write(terminal, person.phrase.encode() + b"\n")
    shown += read_until(terminal, b"obtain-ticketbooks")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)
    assert person.phrase.split()[0].encode() + b" " not in shown
    assert b"n1" in shown


def read_until(terminal, text):
    shown, deadline = b"", time.monotonic() + LIMIT_SECONDS
    while text not in shown:
        assert time.monotonic() < deadline, shown
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                raise AssertionError(shown) from None
    return shown


def test_an_empty_account_cannot_buy_and_is_told_so(person):
    person.with_account()
    balance = person.json("account", "balance")
    assert (balance["balance"]["amount"], balance["books_affordable"], balance["tickets"]) == (0, 0, 0)
    assert person.run("account", "balance").stdout.count("\n") == 4
    error = person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes", code=5)
    assert error["code"] in ("E_INSUFFICIENT_FUNDS", "E_ACCOUNT_UNFUNDED")
    dry = person.json("account", "obtain-ticketbooks", "--amount", 1, "--dry-run")
    assert (dry["enough"], dry["price"]) == (False, {"amount": 75 * NYM, "denom": "unym"})
    assert person.json("tickets", "pending") == {"purchases": []}


def test_buying_asks_and_shows_price_and_fee_before(person):
    person.with_account(200)
    dry = person.run("account", "obtain-ticketbooks", "--amount", 2, "--dry-run")
    for text in ("2 books of mixnet-entry: 100 tickets, 20.0 GB", "75 NYM a book", "fee", "has 200 NYM"):
        assert text in dry.stdout
    assert "Nothing was paid" in dry.stdout
    assert person.json("account", "balance")["balance"]["amount"] == 200 * NYM
    unasked = person.json("account", "obtain-ticketbooks", "--amount", 1, code=2)
    assert "--yes" in unasked["todo"]
    wrong = person.json("account", "obtain-ticketbooks", "--amount", 1, "--type", "nonsense", "--yes", code=2)
    assert "mixnet-entry" in wrong["todo"]
    source = person.json("account", "obtain-ticketbooks", "--amount", 1, "--source", "x", "--yes", code=2)
    assert "smartcontract" in source["todo"]
    bought = person.run("account", "obtain-ticketbooks", "--amount", 1, "--source", "smartcontract", "--yes")
    assert bought.returncode == 0, bought.stderr
    assert (
        bought.stdout.index("75 NYM a book")
        < bought.stdout.index("pay …")
        < bought.stdout.index("book 1: 50 tickets")
    )
    [book] = person.json("tickets", "list")["books"]
    assert (book["type"], book["remaining"], book["state"]) == ("v1-mixnet-entry", 50, "active")
    balance = person.json("account", "balance")
    assert 124 * NYM < balance["balance"]["amount"] < 125 * NYM
    assert balance["tickets"] == 50
    other = person.json("account", "obtain-ticketbooks", "--amount", 1, "--type", "mixnet-exit", "--yes")
    assert other["bought"][0]["type"] == "v1-mixnet-exit"
    assert person.json("account", "balance")["tickets"] == 50, "of another type"


@pytest.mark.slow
def test_on_a_terminal_there_are_bars_and_a_question(person):
    person.with_account(200)
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover - the child is another program at once
        os.execvpe(NYMGATE[0], [*NYMGATE, "account", "obtain-ticketbooks", "--amount", "1"], person.environ)
    shown = read_until(terminal, b"Buy?")
    assert b"75 NYM a book" in shown
    os.write(terminal, b"n\n")
    refused = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert refused == 3
    os.close(terminal)
    pid, terminal = pty.fork()
    if pid == 0:  # pragma: no cover
        os.execvpe(NYMGATE[0], [*NYMGATE, "account", "obtain-ticketbooks", "--amount", "1"], person.environ)
    read_until(terminal, b"Buy?")
    os.write(terminal, b"y\n")
    shown = read_until(terminal, b"book 1: 50 tickets")
    for text in (
        "enough signers are ready",
        "deposit sent",
        "deposit on the chain",
        "shares of the book",
        "2/2",
    ):
        assert text.encode() in shown, text
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(terminal)


def test_books_move_between_stores(person, paid_network, tmp_path):
    person.with_account(100)
    person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes")
    file = tmp_path / "book"
    assert person.run("tickets", "export", 1, file).returncode == 2, "nobody to ask"
    assert person.json("tickets", "export", 9, file, "--yes", code=1)["code"] == "E_BOOK_REFUSED"
    assert not file.exists()
    assert person.json("tickets", "export", 1, file, "--yes")["bytes"] == file.stat().st_size
    assert file.stat().st_mode & 0o777 == 0o600
    assert person.json("tickets", "list")["books"] == []
    assert [b["state"] for b in person.json("tickets", "list", "--all")["books"]] == ["exported"]
    other = Person(paid_network, tmp_path / "other")
    other.home.mkdir()
    assert other.json("tickets", "import", file)["remaining"] == 50
    assert other.json("tickets", "import", file, code=1)["code"] == "E_BOOK_ALREADY_HERE"
    assert person.json("tickets", "import", file, code=1)["code"] == "E_BOOK_ALREADY_HERE"
    assert person.json("tickets", "import", file, "--reclaim")["remaining"] == 50
    file.write_bytes(b"rubbish")
    assert person.json("tickets", "import", file, code=1)["code"] == "E_BOOK_REFUSED"
    assert person.json("tickets", "import", tmp_path / "none", code=2)["code"] == "E_CONFIG"


@pytest.mark.slow
def test_trouble_on_the_way_is_told_and_taken_up_again(person, paid_network):
    payments = paid_network.net.payments
    person.with_account(200)
    for signer in payments.signers[:2]:
        signer.faults.down = True
    error = person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes", code=4)
    assert (error["layer"], error["code"]) == ("signers", "E_QUORUM_MISSING")
    assert person.json("account", "balance")["balance"]["amount"] == 200 * NYM, "nothing was paid"
    for signer in payments.signers:
        signer.faults.down = False
        signer.faults.refuse_blind_sign = (500, "not now")
    process = subprocess.Popen(
        [*NYMGATE, "account", "obtain-ticketbooks", "--amount", "1", "--yes"],
        env=person.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "collect shares" in line:
            break
    busy = person.json("tickets", "resume", code=6)
    assert busy["code"] == "E_STORE_IN_USE"
    process.kill()
    process.communicate()
    [pending] = person.json("tickets", "pending")["purchases"]
    assert (pending["paid"], pending["price"]["amount"]) == (True, 75 * NYM)
    assert "75 NYM paid" in person.run("tickets", "pending").stdout
    warned = person.run("account", "forget")
    assert "WARNING: 1 purchase(s)" in warned.stderr
    assert warned.returncode == 2
    for signer in payments.signers:
        signer.faults.refuse_blind_sign = None
    assert [item["state"] for item in person.json("tickets", "resume")["purchases"]] == ["issued"]
    assert person.json("account", "balance")["tickets"] == 50
    assert "Nothing is unfinished." in person.run("tickets", "resume").stdout


def test_a_chain_out_of_reach_is_code_4(person, tmp_path, paid_network):
    person.with_account()
    text = (paid_network.net.data_dir / "localnet.toml").read_text()
    lost = tmp_path / "lost.toml"
    lost.write_text(text.replace(paid_network.net.payments.rpc_url, "http://127.0.0.1:9"))
    given = {"NYMGATE_NETWORK": str(lost), "NYMGATE_STORE__URL": str(tmp_path / "store.sqlite")}
    person.json("account", "set", stdin=new_phrase(), **given)
    error = person.json("account", "balance", code=4, **given)
    assert (error["layer"], error["code"]) == ("chain", "E_CHAIN_UNREACHABLE")


def test_a_network_without_a_chain_says_so(person, tmp_path):
    bare = tmp_path / "bare.toml"
    bare.write_text("name = 'bare'\nnym_api = 'http://127.0.0.1:9/'\n")
    error = person.json("account", "set", stdin=person.phrase, code=2, NYMGATE_NETWORK=str(bare))
    assert "no chain" in error["what"]


@pytest.mark.slow
def test_a_store_has_one_key(person, tmp_path):
    person.with_account()
    wrong = person.json("account", "get", code=2, NYMGATE_STORE__KEY="ab" * 32)
    assert wrong["code"] == "E_STORE_KEY_WRONG"
    both = {"NYMGATE_STORE__KEY": "ab" * 32, "NYMGATE_STORE__PASSPHRASE": "long enough"}
    assert "Several keys" in person.json("account", "get", code=2, **both)["what"]
    own = {"NYMGATE_STORE__URL": str(tmp_path / "own.sqlite"), "NYMGATE_STORE__PASSPHRASE": "long enough"}
    person.json("account", "set", stdin=person.phrase, **own)
    assert person.json("account", "get", **own)["address"] == person.address
    assert person.json("account", "get", code=2, **own | {"NYMGATE_STORE__PASSPHRASE": "long enouhg"})[
        "code"
    ] == ("E_STORE_KEY_WRONG")


def test_a_restored_backup_is_refused_until_somebody_vouches(person, tmp_path):
    person.with_account(100)
    person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes")
    [database] = (tmp_path / ".local").rglob("tickets*.sqlite")
    [witness] = (tmp_path / ".local").rglob("tickets*.witness")
    witness.unlink()
    error = person.json("tickets", "list", code=1)
    assert error["code"] == "E_BACKUP_RESTORED"
    assert "accept-backup" in error["todo"]
    assert person.json("tickets", "accept-backup", code=2)["code"] == "E_CONFIG"
    assert [b["state"] for b in person.json("tickets", "accept-backup", "--give-up-books")["books"]] == [
        "exhausted"
    ]
    assert person.json("tickets", "list")["books"] == []
    assert person.json("tickets", "trust", 1, "--yes")["remaining"] == 50
    assert database.exists()


@pytest.mark.slow
def test_run_shows_its_tickets_and_pays_with_them(person):
    person.with_account(100)
    person.json("account", "obtain-ticketbooks", "--amount", 1, "--yes")
    process = subprocess.Popen(
        [*NYMGATE, "run", "--listen", "127.0.0.1:0", "--profile", "uncovered", "-vv"],
        env=person.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        lines = [process.stdout.readline() for _ in range(5)]
        assert "ready" in lines[0]
        assert lines[4].startswith("  tickets  49 left, the last until ")
        listed = person.json("tickets", "list")
        assert (listed["books"][0]["remaining"], listed["tickets"]["accepted"]) == (49, 1)
    finally:
        process.send_signal(signal.SIGTERM)
        _output, errors = process.communicate(timeout=LIMIT_SECONDS)
    assert process.returncode == 0
    assert "INSERT" not in errors, "the database keeps quiet, whatever the level"
    assert "UPDATE" not in errors
    for word in person.phrase.split():
        if len(word) > 6:
            assert word not in errors
    listed = person.json("tickets", "list")["tickets"]
    assert listed == {"accepted": 1, "given_up": 0}
