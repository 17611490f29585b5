(function () {
  "use strict";
  var root = document.documentElement;
  window.addEventListener("error", function (event) { root.dataset.error = event.message; });

  function each(selector, action, within) {
    Array.prototype.forEach.call((within || document).querySelectorAll(selector), action);
  }

  /* Tables: a click on a heading sorts, best first; a second click turns the order round. Rows without a number stay last. */
  function key(row, column, text) {
    var cell = row.cells[column];
    var value = cell ? cell.dataset.value : "";
    if (text) return (value || "").toLowerCase();
    return value ? parseFloat(value) : null;
  }

  function sort(table, heading, button) {
    var text = button.dataset.better === "text";
    var first = button.dataset.better === "higher" ? "descending" : "ascending";
    var other = first === "ascending" ? "descending" : "ascending";
    var order = heading.getAttribute("aria-sort") === first ? other : first;
    var sign = order === "ascending" ? 1 : -1;
    var body = table.tBodies[0];
    var rows = Array.prototype.map.call(body.rows, function (row) {
      return { row: row, value: key(row, heading.cellIndex, text) };
    });
    rows.sort(function (a, b) {
      if (a.value === null || b.value === null) return (a.value === null) - (b.value === null);
      return sign * (a.value < b.value ? -1 : a.value > b.value ? 1 : 0);
    });
    rows.forEach(function (item) { body.appendChild(item.row); });
    each("th[aria-sort]", function (th) { th.removeAttribute("aria-sort"); }, table);
    heading.setAttribute("aria-sort", order);
    document.getElementById("announcer").textContent = "Sorted by " + button.textContent.trim() + ", " + order;
  }

  each("table[data-sortable]", function (table) {
    each("th button[data-better]", function (button) {
      button.addEventListener("click", function () { sort(table, button.closest("th"), button); });
    }, table);
  });

  /* Tabs: links to panels become tabs; without this script all panels are shown one below the other. */
  each("[data-tabs]", function (nav) {
    var tabs = Array.prototype.slice.call(nav.querySelectorAll("a[href^='#']"));
    var panels = tabs.map(function (tab) { return document.getElementById(tab.getAttribute("href").slice(1)); });
    nav.setAttribute("role", "tablist");

    function select(index, focus) {
      tabs.forEach(function (tab, i) {
        tab.setAttribute("aria-selected", String(i === index));
        tab.tabIndex = i === index ? 0 : -1;
        panels[i].hidden = i !== index;
      });
      if (focus) tabs[index].focus();
    }

    tabs.forEach(function (tab, i) {
      tab.setAttribute("role", "tab");
      tab.setAttribute("aria-controls", panels[i].id);
      panels[i].setAttribute("role", "tabpanel");
      tab.addEventListener("click", function (event) { event.preventDefault(); select(i, false); });
      tab.addEventListener("keydown", function (event) {
        var to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
        if (to === undefined) {
          if (event.key === " ") { event.preventDefault(); select(i, true); }
          return;
        }
        event.preventDefault();
        select((to + tabs.length) % tabs.length, true);
      });
    });

    function follow() {
      var at = panels.map(function (panel) { return "#" + panel.id; }).indexOf(location.hash);
      select(Math.max(at, 0), false);
    }
    follow();
    window.addEventListener("hashchange", function () { if (location.hash.indexOf("#metric-") === 0) follow(); });
  });

  /* Audio: one clip at a time. Within an example, the next clip goes on where the last one was. */
  var keep = document.getElementById("keep-place");
  var match = document.getElementById("match-level");
  var last = null;

  function sameExample(a, b) { return a && b && a.closest(".example") === b.closest(".example"); }

  document.addEventListener("play", function (event) {
    var now = event.target;
    each("audio", function (audio) { if (audio !== now && !audio.paused) audio.pause(); });
    if (keep && keep.checked && last !== now && sameExample(last, now) && !last.ended && last.currentTime > 0) {
      now.currentTime = last.currentTime;
    }
    last = now;
  }, true);

  function setVolumes() {
    each("audio", function (audio) { audio.volume = match.checked ? parseFloat(audio.dataset.volume) : 1; });
  }
  if (match) {
    match.addEventListener("change", setVolumes);
    setVolumes();
  }

  root.dataset.ready = "true";
})();
