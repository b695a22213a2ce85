import pytest

from graft.core.errors import UsageError
from graft.core.registry import Registry


def test_names_are_taken_once_and_found_again():
    registry = Registry("fruit", None)

    @registry.register("pear")
    def pear():
        return 1

    assert registry.register("pear")(pear) is pear  # the same thing again is no conflict (a module that is reloaded)
    with pytest.raises(UsageError, match="fruit 'pear' is registered twice"):
        registry.register("pear")(lambda: 2)
    registry.register("apple")(len)
    assert list(registry) == ["apple", "pear"]
    assert len(registry) == 2
    assert "pear" in registry
    assert "plum" not in registry
    assert registry.items() == [("apple", len), ("pear", pear)]


def test_a_near_miss_is_named():
    registry = Registry("fruit", None)
    with pytest.raises(UsageError, match="no fruit 'x'; known: none"):
        registry["x"]
    registry.register("apple")(1)
    with pytest.raises(UsageError, match="did you mean 'apple'"):
        registry["aple"]
    with pytest.raises(UsageError, match="known: apple"):
        registry["zzzz"]


def test_a_package_is_scanned_once_on_first_use(tmp_path, monkeypatch):
    folder = tmp_path / "fruit_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text(
        "from graft.core.registry import Registry\nFRUIT = Registry('fruit', __name__)\n"
    )
    plugin = "from fruit_plugins import FRUIT\n@FRUIT.register('{0}')\ndef {0}(): return list(FRUIT)\n"
    (folder / "apple.py").write_text(plugin.format("apple"))
    (folder / "pear.py").write_text(plugin.format("pear") + "assert 'pear' in FRUIT  # asks while it is scanned\n")
    monkeypatch.syspath_prepend(tmp_path)
    import fruit_plugins

    assert fruit_plugins.FRUIT._entries == {}
    assert fruit_plugins.FRUIT["apple"]() == ["apple", "pear"]


def test_a_plug_in_that_cannot_be_imported_fails_every_time(tmp_path, monkeypatch):
    folder = tmp_path / "nut_plugins"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "broken.py").write_text("raise RuntimeError('broken')")
    monkeypatch.syspath_prepend(tmp_path)
    registry = Registry("nut", "nut_plugins")
    for _ in range(2):
        with pytest.raises(RuntimeError, match="broken"):
            list(registry)


def test_installed_packages_add_their_own(monkeypatch):
    class Point:
        name = "kiwi"

        def load(self):
            return 42

    monkeypatch.setattr("graft.core.registry.entry_points", lambda group: [Point()] if group == "email.mime" else [])
    assert Registry("fruit", "email.mime")["kiwi"] == 42
