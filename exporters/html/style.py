"""The style sheet of every report: light and dark, on a wide screen, a phone and paper. Drawings name its classes."""

STYLE = """
:root { color-scheme:light dark; --ink:#1c2430; --soft:#5b6675; --line:#dfe4ea; --paper:#fff; --wash:#f5f7f9;
  --good:#1f7a4d; --bad:#b3372f; --c0:#2563a8; --c1:#b8651b; --c2:#1f7a4d; --c3:#7a4fa3; }
@media (prefers-color-scheme:dark) {
  :root { --ink:#e4e8ee; --soft:#9aa6b5; --line:#323b47; --paper:#1a2029; --wash:#11161d;
    --good:#5cc08d; --bad:#ef8078; --c0:#6ea8e6; --c1:#e2a45f; --c2:#5cc08d; --c3:#b394dd; } }
* { box-sizing:border-box }
body { margin:0; background:var(--wash); color:var(--ink) }
body { font:15px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif }
main { max-width:1020px; margin:0 auto; padding:32px 20px 64px }
h1 { font-size:28px; margin:0 0 4px; letter-spacing:-.01em; overflow-wrap:anywhere }
h2 { font-size:19px; margin:0 0 6px }
p { margin:6px 0 12px; max-width:76ch } .lead { color:var(--soft); margin-bottom:24px }
section { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:20px 24px; margin:18px 0 }
.cards { display:grid; grid-template-columns:repeat(auto-fit,minmax(165px,1fr)); gap:12px; margin:18px 0 }
.card { background:var(--paper); border:1px solid var(--line); border-radius:10px; padding:12px 16px }
.card b { display:block; font-size:22px; font-variant-numeric:tabular-nums; overflow-wrap:anywhere }
.card span { color:var(--soft); font-size:13px }
.good b { color:var(--good) } .bad b { color:var(--bad) }
figure { margin:8px 0 } figure svg { width:100%; height:auto; border-radius:6px }
figcaption, .note { color:var(--soft); font-size:13px }
.scroll { overflow-x:auto } .scroll svg.own { min-width:600px }
table { border-collapse:collapse; width:100%; font-variant-numeric:tabular-nums; margin:6px 0; font-size:14px }
th,td { text-align:left; padding:5px 12px 5px 0; border-bottom:1px solid var(--line); white-space:nowrap }
th { color:var(--soft); font-weight:600; font-size:13px } td.n, th.n { text-align:right }
td.w { white-space:normal; overflow-wrap:anywhere; min-width:22ch }
code { background:var(--wash); border:1px solid var(--line); border-radius:4px; padding:1px 5px; font-size:13px }
pre { font-size:12.5px; overflow-x:auto; background:var(--wash); padding:10px; border-radius:6px }
details { margin:8px 0 } summary { cursor:pointer; color:var(--soft) }
svg.own text { fill:var(--ink); font:12px system-ui,-apple-system,"Segoe UI",sans-serif }
svg.own .soft { fill:var(--soft) } svg.own .small { font-size:11px }
svg.own .end { text-anchor:end } svg.own .mid { text-anchor:middle }
svg.own .ink { stroke:var(--ink) }
svg.own .grid { stroke:var(--line) } svg.own .axis { stroke:var(--soft) } svg.own .hollow { fill:var(--paper) }
svg.own .f0 { fill:var(--c0) } svg.own .f1 { fill:var(--c1) }
svg.own .f2 { fill:var(--c2) } svg.own .f3 { fill:var(--c3) }
svg.own .f4 { fill:var(--bad) } svg.own .f5 { fill:var(--soft) } svg.own .edged { stroke:var(--paper) }
svg.own .onfill { fill:var(--paper) } svg.own .bad { fill:var(--bad) }
svg.own .curve { fill:none; stroke-width:1.8; stroke-linejoin:round }
svg.own .limit { stroke:var(--bad); stroke-width:1.4 } svg.own .span { fill:var(--soft); opacity:.16 }
svg.own .gateway { fill:var(--ink); stroke:var(--paper) } svg.own .s0 { stroke:var(--c0) }
svg.own .s3 { stroke:var(--c3) } svg.own .s4 { stroke:var(--bad) } svg.own .s5 { stroke:var(--soft) }
svg.own .d1 { opacity:.3 } svg.own .d2 { opacity:.52 } svg.own .d3 { opacity:.76 }
svg.own .s1 { stroke:var(--c1) } svg.own .empty { fill:none }
svg.own .s2 { stroke:var(--c2) } svg.own .softline { stroke:var(--soft) } svg.own .faint { opacity:.45 }
svg.own .box { fill:var(--wash); stroke:var(--line) }
@media (max-width:640px) { main { padding:16px 10px 40px } section { padding:14px 14px; border-radius:8px }
  h1 { font-size:23px } .card b { font-size:19px } .cards { grid-template-columns:1fr 1fr } }
@media print { :root { --wash:#fff } main { max-width:none; padding:0 } .scroll { overflow:visible }
  .scroll svg { min-width:0 } section, .card { border-color:#bbb } table { font-size:11px }
  figure, tr, .card { break-inside:avoid } h2 { break-after:avoid }
  pre { white-space:pre-wrap } td, th { white-space:normal } details > :not(summary) { display:block }
  details::details-content { display:block; content-visibility:visible } }
"""
