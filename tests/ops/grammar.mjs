// Where Grafana's own grammars of TraceQL and LogQL stumble over a query; nothing where they do not.
//
//   node grammar.mjs DIRECTORY < [["traceql", "{ name = \"x\" }"], …]     prints [[], [position, …], …]
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const require = createRequire(`${process.argv[2]}/package.json`);

function errors([language, query]) {
  const { parser } = require(`@grafana/lezer-${language}`);
  const found = [];
  parser.parse(query).iterate({
    enter: (node) => {
      if (node.type.isError) found.push(node.from);
    },
  });
  return found;
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf-8")).map(errors)));
