"""The look of the report: light and dark, wide and narrow, on paper."""

from __future__ import annotations

_LIGHT = """color-scheme: light; --paper:#fcfcfb; --card:#fff; --ink:#1d2126; --soft:#565e67; --line:#d3d7da; --faint:#eceeef;
--model:#0072b2; --rival:#a85400; --bad:#a85400; --rgb-right:0 114 178; --rgb-wrong:213 94 0; --deep:#fff;"""
_DARK = """color-scheme: dark; --paper:#15181b; --card:#1c2024; --ink:#e8eaeb; --soft:#a6aeb6; --line:#3c434a; --faint:#262b30;
--model:#62baf0; --rival:#eda13f; --bad:#f2ab58; --rgb-right:74 158 214; --rgb-wrong:224 126 46; --deep:#0c0f12;"""

STYLE = f"""
:root {{ {_LIGHT} }}
@media screen and (prefers-color-scheme: dark) {{ :root {{ {_DARK} }} }}
""" + """
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI",
  Roboto, "Noto Sans", sans-serif; font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
:lang(zh) body, body:lang(zh) { font-family: system-ui, -apple-system, "PingFang SC", "Microsoft YaHei",
  "Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", sans-serif; line-height: 1.7; }
.page { margin: 0 auto; padding: 2.2rem 1.4rem 4rem; max-width: 64rem; }
h1 { font-size: 1.9rem; line-height: 1.25; font-weight: 650; letter-spacing: -.015em; margin: 0 0 .7rem; }
h2 { font-size: 1.3rem; font-weight: 650; margin: 0 0 .8rem; letter-spacing: -.01em; }
h3 { font-size: 1rem; font-weight: 650; margin: 1.8rem 0 .5rem; }
:lang(zh) h1, :lang(zh) h2 { letter-spacing: 0; }
p { max-width: 46rem; margin: 0 0 .8rem; }
a { color: var(--model); }
:focus-visible { outline: 2.5px solid var(--model); outline-offset: 2px; border-radius: .15rem; }
.lead { font-size: 1.08rem; } .lead .spread { font-size: 1em; }
.warning { border-left: 3px solid var(--bad); padding: .1rem 0 .1rem .8rem; }
.fine, .spread, small, caption, figcaption { color: var(--soft); font-size: .86rem; }
.spread { white-space: nowrap; font-weight: 400; }
section { margin-top: 3rem; }
footer { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: .7rem; }
nav ol { list-style: none; margin: 0; padding: 0; } nav a { display: block; padding: .22rem 0; text-decoration: none;
  line-height: 1.35; }
nav a:hover { text-decoration: underline; }
nav.side { display: none; }
details.side { border: solid var(--line); border-width: 1px 0; padding: .35rem 0; margin: 1rem 0 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .8rem; margin-bottom: 1.6rem; }
.tile, article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.tile { padding: .7rem .9rem .6rem; } .tile .what { color: var(--soft); font-size: .86rem; }
.tile .figure { font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
table { border-collapse: collapse; font-size: .93rem; } caption { text-align: left; padding: 0 0 .5rem; }
th { font-weight: 500; text-align: left; } thead th { color: var(--soft); font-size: .86rem; vertical-align: bottom;
  line-height: 1.3; }
th, td { padding: .28rem .9rem .28rem 0; } tr > :last-child { padding-right: 0; }
.n { text-align: right; white-space: nowrap; }
table.rows tbody tr + tr > * { border-top: 1px solid var(--faint); } table.rows td, table.rows tbody th { vertical-align: top; }
.wide { overflow-x: auto; } .wide + p, table + p { margin-top: .9rem; }
details { margin: 1rem 0; } summary { cursor: pointer; color: var(--model); padding: .2rem 0; }
table.plots { width: 100%; } table.plots tbody > tr > * { padding-top: 0; padding-bottom: 0; }
table.plots .plot { min-width: 9rem; padding-left: .4rem; padding-right: 1.2rem; }
table.plots tfoot td { vertical-align: top; padding-top: 0; }
table.baselines .plot { width: 36%; } table.baselines tbody th { width: 33%; line-height: 1.25; }
table.baselines tbody tr:first-child th, table.baselines tbody tr:first-child .n { font-weight: 650; }
table.worth { max-width: 56rem; } table.worth .plot { width: 30%; }
table.worth tbody th { font-weight: 600; }
svg.strip { display: block; width: 100%; overflow: visible; } svg text { fill: var(--soft); font-size: 12px; }
.grid { stroke: var(--line); stroke-width: 1; } line.line { stroke: var(--soft); stroke-width: 1.3; }
line.spread { stroke-width: 2.4; stroke-linecap: round; opacity: .55; }
.model { stroke: var(--model); fill: var(--model); } .rival { stroke: var(--rival); fill: var(--paper); stroke-width: 1.8; }
.plain { stroke: var(--soft); fill: var(--soft); } .full { fill: var(--model); } .track { fill: var(--faint); }
polyline { fill: none !important; stroke-width: 2 !important; stroke-linejoin: round; }
polyline.rival, .key line.rival { stroke-dasharray: 5 3; }
polyline.ideal, .key line.ideal { stroke-dasharray: 3 4; } .key line { stroke-width: 2; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.3rem; font-size: .9rem; color: var(--soft); margin-bottom: .6rem; }
.key svg { vertical-align: -1px; }
.in { fill: var(--ink); } .out { fill: var(--line); } .joint { stroke: var(--ink); stroke-width: 2; }
svg.dots { display: block; } td.dots, th.dots { padding-right: .6rem; width: 1%; }
th.dots div { display: flex; } th.dots span, .turned span { writing-mode: vertical-rl; text-orientation: sideways;
  transform: rotate(180deg); white-space: nowrap; max-height: 9rem; overflow: hidden; text-overflow: ellipsis; }
th.dots span { width: 22px; line-height: 22px; }
table.subsets .name { display: none; } table.subsets tbody tr:hover { background: var(--faint); }
table.subsets .plot { width: 30%; } tr.size > * { border-top: 1px solid var(--line); }
tr.few { color: var(--soft); }
tr.few svg { opacity: .55; } tr.mean > * { border-top: 1.5px solid var(--ink); font-weight: 600; }
.worse { color: var(--bad); }
.curves { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(19rem, 100%), 1fr)); gap: 1.4rem 1.6rem; }
figure { margin: 0; } figcaption { margin-bottom: .3rem; } figcaption b { color: var(--ink); font-weight: 600; }
svg.curve { width: 100%; max-width: 32rem; height: auto; display: block; }
table.confusion { font-size: .86rem; } .confusion td { text-align: center; min-width: 2.2rem; height: 2rem; padding: 0 .2rem;
  border: 1px solid var(--faint); } .confusion thead td, .confusion td.sum { border: 0; color: var(--soft); }
.confusion th[scope=row] { text-align: right; padding: 0 .6rem 0 0; white-space: nowrap; max-width: 12rem; overflow: hidden;
  text-overflow: ellipsis; } .confusion .zero { color: var(--line); }
.turned { padding: 0 0 .3rem !important; } .turned span { display: block; margin: auto; }
.right { background: rgb(var(--rgb-right) / var(--share)); } .wrong { background: rgb(var(--rgb-wrong) / var(--share)); }
.confusion .deep { color: var(--deep); }
.pairs { columns: 2 18rem; max-width: 48rem; margin: 0; padding-left: 1.2rem; }
.gallery { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(15.5rem, 100%), 1fr)); gap: 1rem;
  align-items: start; }
article { padding: .8rem .9rem; font-size: .92rem; break-inside: avoid; }
article header { border-bottom: 1px solid var(--faint); padding-bottom: .5rem; margin-bottom: .6rem; }
article small { display: block; } .truth { font-weight: 650; } .guess { font-weight: 650; color: var(--bad); }
.cell { margin: .5rem 0 0; } .cell img { display: block; max-width: 100%; max-height: 11rem; margin: 0 auto;
  border-radius: .25rem; background: #fff; }
.looked { display: flex; flex-wrap: wrap; gap: .35rem; } .looked figure { margin: 0; max-width: 6rem; font-size: .8rem; }
.looked figure.hit { outline: 2px solid var(--model); outline-offset: 2px; border-radius: .2rem; }
.gallery.pair { grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); } .pair figure { width: 5.2rem; }
.pair .looked { gap: .5rem; margin-top: .3rem; } .pair .cell + .cell { margin-top: 1rem; }
.pair figcaption { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden;
  line-height: 1.25; }
.looked img { max-height: 5.5rem; } .looked figcaption b { font-weight: 600; }
.column { color: var(--soft); font-size: .82rem; display: block; line-height: 1.4; }
.absent { color: var(--soft); font-style: italic; } :lang(zh) .absent, :lang(zh) em { font-style: normal; }
:lang(zh) em { font-weight: 600; }
audio { display: block; width: 100%; height: 2.2rem; margin: .2rem 0 .3rem; }
svg.heard { display: block; width: 100%; height: auto; }
svg.heard text { font-size: 11px; } line.axis { stroke: var(--soft); }
.bar { vertical-align: 0; margin-left: .5rem; }
dl { display: grid; grid-template-columns: minmax(6rem, max-content) 1fr; gap: .15rem 1.2rem; margin: 0; font-size: .93rem; }
dl.small { grid-template-columns: minmax(0, max-content) 1fr; gap: 0 .7rem; font-size: .86rem; }
dt { color: var(--soft); } dd { margin: 0; min-width: 0; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .7rem .9rem; overflow-x: auto;
  font: .86rem/1.5 ui-monospace, "Cascadia Mono", Menlo, Consolas, "Noto Sans Mono", "Noto Sans Mono CJK SC", monospace;
  user-select: all; max-width: 46rem; }
code { font-size: .9em; } td code { overflow-wrap: anywhere; }
@media screen and (min-width: 68rem) {
  .page { display: grid; grid-template-columns: 11.5rem minmax(0, 1fr); gap: 0 2.6rem; max-width: 80rem; }
  .page > nav.side { display: block; grid-row: 1 / span 3; position: sticky; top: 0; align-self: start; max-height: 100vh;
    overflow-y: auto; padding: 2.4rem .2rem 1rem 0; font-size: .92rem; margin-top: -2.2rem; }
  nav.side b { display: block; color: var(--soft); font-weight: 500; font-size: .86rem; margin-bottom: .3rem; }
  details.side { display: none; } header.top, main, footer { grid-column: 2; min-width: 0; }
}
@media screen and (max-width: 66rem) { table.classes td .spread { display: block; line-height: 1.2; }
  table.classes tbody tr > * { padding-bottom: .25rem; } table.classes td:last-child { overflow-wrap: anywhere; } }
@media screen and (max-width: 46rem) { table.classes td .spread { display: inline; }
  .page { padding: 1.2rem .9rem 3rem; } h1 { font-size: 1.5rem; } section { margin-top: 2.4rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
  table.plots, table.plots caption, table.plots tbody, table.plots tfoot { display: block; }
  table.plots thead { display: none; }
  table.plots tr { display: grid; grid-template-columns: 1fr auto auto; gap: 0 .7rem; padding: .45rem 0;
    align-items: baseline; }
  table.plots tbody th, table.plots .name { grid-area: 1 / 1; } table.plots .n:not([data-label]) { grid-row: 1; }
  table.plots tr + tr { border-top: 1px solid var(--faint); }
  table.plots td, table.plots th { padding: 0 !important; min-width: 0; border: 0 !important; width: auto !important; }
  table.plots td.plot { grid-column: 1 / -1; } table.plots tfoot td:not(.plot), table.plots td.dots { display: none; }
  table.plots tbody th, table.plots .name { display: block !important; font-weight: 600; }
  table.plots td[data-label] { grid-column: 1 / -1; text-align: left; font-size: .88rem; white-space: normal; }
  table.plots td[data-label]:not(:empty)::before { content: attr(data-label) ": "; color: var(--soft); }
  :lang(zh) table.plots td[data-label]:not(:empty)::before { content: attr(data-label) "："; }
  table.plots td[data-unit]::after { content: " " attr(data-unit); color: var(--soft); font-size: .86rem; }
  tr.mean { border-top: 1.5px solid var(--ink) !important; }
  .wide.scroll { margin-right: -.9rem; }
  dl:not(.small) { grid-template-columns: 1fr; gap: 0; } dl:not(.small) dd { margin: 0 0 .5rem; }
}
@media print {
  @page { size: A4; margin: 14mm 13mm; } :root { --paper:#fff; } body { background: none; }
  svg.strip text { font-size: 9px; } svg.strip.axis { height: 26px; }
  table.worth, table.baselines, table.confusion, table.by { break-inside: avoid; } p:has(+ .gallery) { break-after: avoid; }
  html { font-size: 8.6pt; } body { font-size: 1rem; }
  * { -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  .page { max-width: none; padding: 0; } nav, details.side, audio { display: none !important; }
  section { margin-top: 1.8rem; }
  details::details-content { content-visibility: visible; block-size: auto; } summary { list-style: none; color: var(--soft); }
  h2, h3, caption { break-after: avoid; } tr, figure, .tile, pre, li { break-inside: avoid; }
  thead { display: table-header-group; }
  tfoot { display: table-row-group; } p { max-width: none; orphans: 3; widows: 3; }
  .gallery { grid-template-columns: repeat(3, 1fr); }
  .gallery.pair { grid-template-columns: 1fr 1fr; }
  .cell img { max-height: 8rem; } .wide { overflow: visible; }
  .curves { grid-template-columns: 1fr 1fr; } svg.curve { max-width: 25rem; } pre { white-space: pre-wrap; }
}
"""
