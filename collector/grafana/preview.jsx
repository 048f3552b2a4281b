// Panels of the dashboard, drawn by Grafana's own component library from the answers that preview.py has fetched.
import React from "react";
import { createRoot } from "react-dom/client";
import { createTheme, dateTime, FieldType, getDisplayProcessor, ThemeContext, toDataFrame } from "@grafana/data";
import { BarGauge, BigValue, PanelChrome, TimeSeries } from "@grafana/ui";

const { dashboard, answers, from, to } = window.preview;
const theme = createTheme({ colors: { mode: "light" } });
const COLUMN = 1440 / 24;
const ROW = 32;
const timeRange = { from: dateTime(from), to: dateTime(to), raw: { from: "now-1h", to: "now" } };
const CUSTOM = {
  drawStyle: "line", lineInterpolation: "linear", lineWidth: 1, fillOpacity: 0, pointSize: 5, showPoints: "auto",
  axisPlacement: "auto", scaleDistribution: { type: "linear" }, spanNulls: false, stacking: { mode: "none" },
  thresholdsStyle: { mode: "off" }, hideFrom: { legend: false, tooltip: false, viz: false },
};

function configured(panel, name) {
  const { defaults, overrides } = panel.fieldConfig;
  const custom = { ...CUSTOM, ...defaults.custom };
  const config = { color: { mode: "palette-classic" }, ...defaults, custom, links: [] };
  for (const { matcher, properties } of overrides) {
    if (!new RegExp(matcher.options.slice(1, -1)).test(name)) continue;
    for (const { id, value } of properties) {
      if (id.startsWith("custom.")) config.custom[id.slice(7)] = value;
      else config[id] = value;
    }
  }
  return { ...config, displayName: name };
}

function legend(format, labels) {
  return format.replace(/\{\{(\w+)\}\}/g, (_all, key) => labels[key] ?? "").trim();
}

function frames(panel) {
  let index = 0;
  return panel.targets.flatMap((target, number) =>
    answers[panel.id][number].map(({ metric, values }) => {
      const config = configured(panel, legend(target.legendFormat, metric) || panel.title);
      const frame = toDataFrame({
        refId: target.refId,
        fields: [
          { name: "Time", type: FieldType.time, config: {}, values: values.map(([time]) => time * 1000) },
          { name: "Value", type: FieldType.number, labels: metric, config, values: values.map((one) => +one[1]) },
        ],
      });
      const field = frame.fields[1];
      field.state = { seriesIndex: index++ };
      for (const one of frame.fields) one.display = getDisplayProcessor({ field: one, theme });
      return frame;
    })
  );
}

function last(frame) {
  const field = frame.fields[1];
  return { field, shown: { ...field.display(field.values.at(-1)), title: field.config.displayName } };
}

const DRAWN = {
  stat: (panel, width, height) => {
    const found = frames(panel);
    if (found.length === 0) return "No data";
    const { shown } = last(found[0]);
    const look = { colorMode: "value", graphMode: "none", justifyMode: "auto", theme };
    return <BigValue value={{ ...shown, title: undefined }} width={width} height={height} {...look} />;
  },
  timeseries: (panel, width, height) => {
    const found = frames(panel);
    if (found.length === 0) return "No data";
    const legend = { showLegend: true, displayMode: "list", placement: "bottom", calcs: [] };
    const same = (one) => one;
    const look = { timeRange, timeZone: "utc", legend, tweakScale: same, tweakAxis: same, replaceVariables: same };
    return <TimeSeries frames={found} width={width} height={height} structureRev={1} {...look} />;
  },
  bargauge: (panel, width, height) => {
    // Instant in Grafana, and so in the order of topk.
    const found = frames(panel).map(last).sort((one, other) => other.shown.numeric - one.shown.numeric);
    const range = { min: 0, max: found[0]?.shown.numeric };
    return (
      <div>
        {found.map(({ field, shown }, index) => {
          const look = { display: field.display, theme, orientation: "horizontal", displayMode: "basic" };
          const size = { width, height: Math.min(60, height / 4) };
          return <BarGauge key={index} value={shown} field={{ ...field.config, ...range }} {...size} {...look} />;
        })}
      </div>
    );
  },
};

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const box = { position: "absolute", left: x * COLUMN + 4, top: y * ROW, width: w * COLUMN - 8, height: h * ROW - 8 };
  if (panel.type === "row") return <h4 style={{ ...box, margin: 0, fontWeight: 500 }}>{panel.title}</h4>;
  const draw = DRAWN[panel.type] ?? (() => <em>{panel.type}: drawn by Grafana itself only</em>);
  return (
    <div style={box}>
      <PanelChrome title={panel.title} description={panel.description} width={box.width} height={box.height}>
        {(width, height) => draw(panel, width, height)}
      </PanelChrome>
    </div>
  );
}

createRoot(document.getElementById("dashboard")).render(
  <ThemeContext.Provider value={theme}>
    {dashboard.panels.map((panel) => <Panel key={panel.id} panel={panel} />)}
  </ThemeContext.Provider>
);
