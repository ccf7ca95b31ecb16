"""The look of a report: one style for wide and narrow screens, light and dark, and paper."""

__all__ = ["CSS"]

CSS = """
:root {
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2430; --quiet: #667085; --line: #e4e2dd;
  --strong: #3f6fb5; --pale: #b9cbe6; --track: #eceae5; --limit: #b45309;
  --good: #047857; --bad: #b42318; --good-soft: #e3f4ec; --bad-soft: #fdecea; --shade: #0000000f;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #12151b; --card: #1a1f28; --ink: #e7eaf0; --quiet: #98a2b3; --line: #2b323e;
    --strong: #7aa7ec; --pale: #36507c; --track: #252c38; --limit: #f0a04b;
    --good: #5bd6a2; --bad: #ff8f85; --good-soft: #14352a; --bad-soft: #421f1d; --shade: #00000040;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 1180px; padding: 28px 28px 48px; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { font-size: 30px; line-height: 1.2; margin: 0; letter-spacing: -0.02em; }
h2 { font-size: 21px; margin: 0 0 6px; letter-spacing: -0.01em; }
h3 { font-size: 15px; margin: 20px 0 8px; }
h4 { font-size: 13px; margin: 14px 0 8px; font-weight: 500; }
p { margin: 6px 0; }
a { color: inherit; }
header p { margin: 4px 0 18px; }
code, pre { font: 0.88em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
code { background: var(--track); border-radius: 4px; padding: 1px 5px; overflow-wrap: anywhere; }
pre { background: var(--track); border-radius: 8px; padding: 12px 14px; overflow-x: auto; }
h3 code, h4 code { font-weight: 400; }
small, .quiet { color: var(--quiet); font-size: 13px; font-weight: 400; }
.lead { color: var(--quiet); max-width: 46em; margin: 0 0 16px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; padding: 10px 0; margin-bottom: 18px;
  border-top: 1px solid var(--line); border-bottom: 1px solid var(--line); font-size: 13px; }
nav a { text-decoration: none; color: var(--quiet); }
nav a:hover { color: var(--strong); }
section { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 22px 24px; margin: 20px 0; box-shadow: 0 1px 3px var(--shade); }
article { border-top: 1px solid var(--line); margin-top: 18px; padding-top: 4px; min-width: 0; }
.gate { display: grid; grid-template-columns: 320px 1fr; gap: 0 28px; }
.gate > div { min-width: 0; }
.gate h4:first-child { margin-top: 2px; }
.gate .strips { grid-template-columns: repeat(4, 1fr); margin: 8px 0; }
.twins { display: grid; gap: 0 28px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 420px), 1fr)); }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { background: var(--card); border: 1px solid var(--line); border-radius: 14px;
  padding: 14px 16px; box-shadow: 0 1px 3px var(--shade); }
.tile b { display: block; font-size: 28px; line-height: 1.15; letter-spacing: -0.02em; }
.tile span { display: block; overflow-wrap: anywhere; }
.tile small { display: block; }
.strips { display: grid; gap: 12px; margin: 12px 0;
  grid-template-columns: repeat(auto-fill, minmax(196px, 1fr)); }
main > .strips { grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); margin-top: 16px; }
figure { margin: 0; min-width: 0; }
.film { display: flex; gap: 2px; height: 92px; border-radius: 8px; overflow: hidden;
  background: var(--track); }
.film img { flex: 1 1 0; min-width: 0; height: 100%; object-fit: cover; }
.take .film { background: #fff; } .take img { object-fit: contain; }
.film span { margin: auto; color: var(--quiet); font-size: 12px; }
figcaption { font-size: 13px; line-height: 1.4; margin-top: 5px; overflow-wrap: anywhere; }
figcaption p { margin: 3px 0; }
.name { font-weight: 600; }
.pair { display: grid; gap: 4px 32px;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); }
.pair > div { min-width: 0; }
ul, ol { list-style: none; margin: 0; padding: 0; }
.bars li { display: grid; grid-template-columns: minmax(90px, 11em) 1fr minmax(110px, auto);
  gap: 0 12px; align-items: center; padding: 3px 0; }
.bars .quiet { text-align: right; font-variant-numeric: tabular-nums; }
.label { overflow-wrap: anywhere; }
.bar { position: relative; height: 12px; border-radius: 6px; background: var(--track);
  overflow: hidden; }
.bar i { position: absolute; inset: 0 auto 0 0; min-width: 1px; background: var(--strong); }
.twice .bar { height: 16px; }
.twice .bar i { top: 8px; }
.twice .bar i.before { top: 0; bottom: 8px; background: var(--pale); }
.twice .more { color: var(--good); } .twice .less { color: var(--bad); }
.funnel li { display: grid; grid-template-columns: minmax(180px, 30%) 1fr minmax(190px, auto);
  gap: 2px 16px; align-items: center; padding: 6px 0; border-top: 1px solid var(--line); }
.funnel li:first-child { border-top: 0; }
.funnel .bar { height: 18px; }
.funnel .figures { text-align: right; font-variant-numeric: tabular-nums; }
.funnel li > .quiet { grid-column: 2 / -1; }
.charts { display: grid; gap: 14px 22px;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.chart { display: block; width: 100%; max-width: 520px; height: auto; margin-top: 4px; }
.chart text { font: 10px system-ui, sans-serif; fill: var(--quiet); }
.chart .end { text-anchor: end; } .chart .mid { text-anchor: middle; }
.chart .whole { fill: var(--pale); } .chart .part { fill: var(--strong); }
.chart .grid { fill: var(--line); } .chart .axis { fill: var(--quiet); }
.chart .limit { fill: var(--limit); }
.chart .limit-text { fill: var(--limit); font-weight: 600; }
.mark { font-weight: 600; }
.mark.in, .mark.out { border-radius: 5px; padding: 1px 7px; font-size: 12px;
  width: fit-content; }
.mark.in { color: var(--good); background: var(--good-soft); }
.mark.out { color: var(--bad); background: var(--bad-soft); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 6px 14px 6px 0;
  border-top: 1px solid var(--line); overflow-wrap: break-word; }
.facts td { overflow-wrap: anywhere; }
thead th { border-top: 0; color: var(--quiet); font-weight: 500; font-size: 13px;
  white-space: nowrap; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
.facts th { color: var(--quiet); font-weight: 500; width: 9.5em; }
.pairs li { font-size: 13px; color: var(--quiet); overflow-wrap: anywhere; }
.term.yes { color: var(--good); } .term.no, .term.unknown { color: var(--bad); }
details { margin-top: 14px; } summary { cursor: pointer; }
footer { text-align: center; }
@media (max-width: 640px) {
  body { padding: 18px 12px 32px; }
  section { padding: 16px 14px; border-radius: 12px; }
  h1 { font-size: 25px; }
  .strips { grid-template-columns: 1fr 1fr; gap: 10px; }
  main > .strips { grid-template-columns: 1fr 1fr 1fr; }
  main > .strips figcaption { display: none; }
  .film { height: 74px; }
  .gate { grid-template-columns: 1fr; }
  .gate .strips { grid-template-columns: 1fr 1fr; }
  .funnel li { grid-template-columns: 1fr; }
  .funnel .bar { height: 12px; }
  .funnel .figures { text-align: left; }
  .funnel li > .quiet { grid-column: 1; }
  .bars li { grid-template-columns: 1fr auto; }
  .bars .bar { grid-column: 1 / -1; order: 3; }
  .wide { min-width: 520px; }
}
@media print {
  @page { margin: 14mm; }
  :root {
    --paper: #fff; --card: #fff; --ink: #000; --quiet: #555; --line: #ccc; --strong: #3f6fb5;
    --pale: #b9cbe6; --track: #eee; --limit: #b45309; --good: #047857; --bad: #b42318;
    --good-soft: #e3f4ec; --bad-soft: #fdecea;
  }
  body { max-width: none; padding: 0; font-size: 11px; print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
  section { border: 0; border-top: 1px solid var(--line); border-radius: 0; box-shadow: none;
    padding: 12px 0; margin: 12px 0; }
  nav { display: none; }
  .tile { box-shadow: none; padding: 8px 10px; } .tile b { font-size: 20px; }
  .strips { grid-template-columns: repeat(4, 1fr); } .gate { grid-template-columns: 200px 1fr; }
  .film { height: 64px; }
  .charts { grid-template-columns: 1fr 1fr 1fr; }
  main > .strips { grid-template-columns: repeat(6, 1fr); }
  .pair, .twins { grid-template-columns: 1fr 1fr; }
  .twins .strips { grid-template-columns: 1fr 1fr; }
  small, .quiet, figcaption, table, h4, .lead { font-size: 10px; }
  figure, .tile, .funnel li, .bars li, tr { break-inside: avoid; }
  h2, h3, h4 { break-after: avoid; }
}
"""
