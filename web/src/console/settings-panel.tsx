// The settings in force, for operators: the value and the source of each.

import { useLoad } from "./load";
import { Await, Empty, Search, Table } from "./parts";
import { route, setQuery } from "./router";
import { matching, settingRows } from "./settings";
import { api } from "./state";
import type { ServerConfig } from "./types";

export function ConfigPanel() {
    const config = useLoad(() => api().call<ServerConfig>("GET", "admin/config"), []);
    const { query } = route.value;
    const text = query.get("q") ?? "";
    const changed = query.get("source") === "set";
    return (
        <Await of={config}>
            {(data) => {
                const all = settingRows(data);
                const rows = matching(all, text, changed);
                return (
                    <>
                        <div class="toolbar" role="group" aria-label="Filters">
                            <Search label="Filter by name, value or source" value={text} onChange={(q) => setQuery({ q })} />
                            <select aria-label="Source" value={changed ? "set" : ""} onChange={({ currentTarget }) => setQuery({ source: currentTarget.value })}>
                                <option value="">All sources</option>
                                <option value="set">Without defaults</option>
                            </select>
                        </div>
                        <p class="summary" role="status">{rows.length} of {all.length} settings. Secrets are masked.</p>
                        {rows.length === 0 ? (
                            <Empty title="No setting matches the filters" />
                        ) : (
                            <Table label="Settings in force" columns={["Setting", "Value", "Source"]}>
                                {rows.map(({ name, value, source }) => (
                                    <tr key={name}>
                                        <td><code class="setting-name">{name}</code></td>
                                        <td class="cell-text"><code>{value}</code></td>
                                        <td class="cell-text" data-set={source !== "default"}>{source}</td>
                                    </tr>
                                ))}
                            </Table>
                        )}
                    </>
                );
            }}
        </Await>
    );
}
