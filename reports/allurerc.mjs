// Allure 3: one HTML file, grouped as the runbook is, with a category that says whose failure each is.
// An unknown key here ends Allure with an error, so keep to those of its documentation.
const output = process.env.FLEET_REPORT_OUTPUT ?? "out/html";

export default {
  name: "Fleet",
  output,
  // A file that outlives the run, so that the page compares it with those before.
  ...(process.env.FLEET_HISTORY ? { historyPath: process.env.FLEET_HISTORY, historyLimit: 60 } : {}),
  globalAttachments: [`${output}/../runbook.txt`],
  plugins: {
    awesome: {
      options: {
        reportName: "Fleet",
        singleFile: true,
        groupBy: ["epic", "feature"],
        timeline: { minDuration: 0 },
      },
    },
  },
  categories: {
    rules: [
      {
        name: "World: the environment was broken, this says nothing about the product",
        matchers: { statuses: ["broken"], labels: { verdict: "world" } },
        groupByMessage: true,
      },
      {
        name: "Product: it did not do what the runbook says",
        matchers: { statuses: ["failed"] },
        groupBy: [{ label: "feature" }],
        groupByMessage: true,
      },
      {
        name: "Test: a scenario or a fixture raised something else",
        matchers: { statuses: ["broken"] },
        groupByMessage: true,
      },
    ],
  },
};
