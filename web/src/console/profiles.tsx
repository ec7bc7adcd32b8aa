// Profiles: the list, and the versions and users of one.

import { useState } from "preact/hooks";

import { fileSize, shortId } from "../text";
import { useList, useLoad } from "./load";
import { Action, Await, Copy, Empty, Facts, Field, Head, More, Pill, Search, Table } from "./parts";
import { saveBlob } from "./saving";
import { NewSession, tagsOf } from "./session-form";
import { TagList } from "./sessions";
import { go, link, route, setQuery } from "./router";
import { api, notify } from "./state";
import type { Profile, ProfileVersion } from "./types";
import { moment } from "./words";

export function ProfilesPage() {
    const search = route.value.query.get("q") ?? "";
    const params = new URLSearchParams({ page_size: "50", ...(search ? { search_key: search } : {}) });
    const profiles = useList<Profile>(`v1/browser_profiles?${params}`, 8000);
    return (
        <>
            <Head title="Profiles" lead="Stored logins: sessions start from them, and store them again when they end." />
            <div class="toolbar"><Search label="Search the name" value={search} onChange={(q) => setQuery({ q })} /></div>
            <Await of={profiles}>
                {(rows) =>
                    rows.length > 0 ? (
                        <Table label="Profiles" columns={["Profile", "Version", "Size", "Changed", "In use by", "Tags"]}>
                            {rows.map((profile) => (
                                <tr key={profile.browser_profile_id}>
                                    <td>
                                        <a class="cell-main" href={link(["profiles", profile.browser_profile_id])}>{profile.name}</a>
                                        <span class="cell-note">{profile.description}</span>
                                    </td>
                                    <td class="number">{profile.version ?? <span class="quiet">empty</span>}</td>
                                    <td class="number">{profile.size === null ? "–" : fileSize(profile.size)}</td>
                                    <td class="number">{moment(profile.modified_at)}</td>
                                    <td>{profile.writer ? <a href={link(["sessions", profile.writer])}>{shortId(profile.writer)}</a> : <span class="quiet">none</span>}</td>
                                    <td><TagList of={profile.tags ?? []} /></td>
                                </tr>
                            ))}
                        </Table>
                    ) : search ? (
                        <Empty title="No profile has this text" />
                    ) : (
                        <Empty title="There are no profiles yet">
                            <p>Log in once in a session, by hand if you like, and choose “Save profile” on its page. Later sessions start logged in.</p>
                            <a class="button button-main" href={link(["sessions"])}>Open the sessions</a>
                        </Empty>
                    )
                }
            </Await>
            <More of={profiles} />
        </>
    );
}

interface Usage {
    readonly sessions: readonly { readonly browser_session_id: string; readonly access: string; readonly status: string; readonly version: number | null }[];
}

export function ProfilePage({ id }: { id: string }) {
    const path = `v1/browser_profiles/${encodeURIComponent(id)}`;
    const profile = useLoad(() => api().call<Profile>("GET", path), [path]);
    const versions = useLoad(() => api().call<ProfileVersion[]>("GET", `${path}/versions`), [path]);
    const usage = useLoad(() => api().call<Usage>("GET", `${path}/usage`), [path], 5000);
    const [starting, setStarting] = useState(false);
    if (profile.failure?.status === 404) {
        return <Head title="There is no such profile" back={{ href: link(["profiles"]), text: "Profiles" }} />;
    }
    const reload = () => {
        profile.reload();
        versions.reload();
    };
    const change = async (event: SubmitEvent) => {
        event.preventDefault();
        const form = new FormData(event.currentTarget as HTMLFormElement);
        const text = (name: string) => String(form.get(name) ?? "").trim();
        try {
            await api().call("PATCH", path, { name: text("name"), description: text("description"), tags: tagsOf(text("tags")) });
            notify("Saved.");
            reload();
        } catch (cause) {
            notify(cause instanceof Error ? cause.message : String(cause), true);
        }
    };
    return (
        <Await of={profile}>
            {(data) => (
                <>
                    <Head title={data.name} back={{ href: link(["profiles"]), text: "Profiles" }} lead={<span class="head-facts"><Copy text={id} label="Copy the id of the profile" /><TagList of={data.tags ?? []} /></span>}>
                        <button class="button button-main" type="button" onClick={() => setStarting(true)}>Start a session</button>
                        <Action run={async () => saveBlob(await api().blob(`${path}/storage_state`), `${data.name}.json`)}>Save its cookies</Action>
                        <Action
                            run={async () => { await api().call("DELETE", path); go(link(["profiles"])); }}
                            done="The profile is deleted."
                            confirm="The login and all its versions are deleted. Sessions that run from it keep theirs until they end."
                        >
                            Delete
                        </Action>
                    </Head>
                    {data.warning && <p class="hint-box">{data.warning}</p>}
                    <div class="columns">
                        <section>
                            <h2>Labels</h2>
                            <form class="form" onSubmit={(event) => void change(event)}>
                                <Field label="Name">{(field) => <input {...field} name="name" required maxLength={100} defaultValue={data.name} />}</Field>
                                <Field label="Description">{(field) => <input {...field} name="description" defaultValue={data.description ?? ""} />}</Field>
                                <Field label="Tags">{(field) => <input {...field} name="tags" defaultValue={(data.tags ?? []).join(", ")} />}</Field>
                                <div><button class="button" type="submit">Save</button></div>
                            </form>
                        </section>
                        <section>
                            <h2>Facts</h2>
                            <Facts of={[["Size", data.size !== null && fileSize(data.size)], ["Browser", data.browser_version], ["Made", moment(data.created_at)], ["Changed", moment(data.modified_at)], ["Workflow", data.workflow_permanent_id && <a href={link(["workflows", data.workflow_permanent_id])}>{shortId(data.workflow_permanent_id)}</a>]]} />
                            <h2>Sessions from it</h2>
                            <Await of={usage}>
                                {({ sessions }) => sessions.length === 0 ? <p class="quiet">None at present.</p> : (
                                    <ul class="plain links">
                                        {sessions.map((session) => (
                                            <li key={session.browser_session_id}>
                                                <a href={link(["sessions", session.browser_session_id])}>{shortId(session.browser_session_id)}</a>
                                                <span class="quiet"> {session.access === "write" ? "stores it at its end" : "has a copy"}</span>
                                            </li>
                                        ))}
                                    </ul>
                                )}
                            </Await>
                        </section>
                    </div>
                    <h2>Versions</h2>
                    <Await of={versions}>
                        {(rows) => (
                            <Table label="Versions" columns={["Version", "From", "Stored", "Size", "Session", ""]}>
                                {rows.map((row) => (
                                    <tr key={row.version}>
                                        <td class="number">{row.version} {row.is_current && <Pill tone="live">current</Pill>}</td>
                                        <td>{row.origin.replaceAll("_", " ")}</td>
                                        <td class="number">{moment(row.created_at)}</td>
                                        <td class="number">{fileSize(row.size)}</td>
                                        <td>{row.browser_session_id ? <a href={link(["sessions", row.browser_session_id])}>{shortId(row.browser_session_id)}</a> : "–"}</td>
                                        <td class="row-actions">
                                            {!row.is_current && (
                                                <>
                                                    <Action kind="button-small" label={`Go back to version ${row.version}`} run={async () => { await api().call("POST", `${path}/rollback`, { version: row.version }); reload(); }} done={`Sessions start from version ${row.version} now.`}>Go back</Action>
                                                    <Action kind="button-small" label={`Delete version ${row.version}`} confirm={`Version ${row.version} is deleted.`} run={async () => { await api().call("DELETE", `${path}/versions/${row.version}`); reload(); }}>Delete</Action>
                                                </>
                                            )}
                                        </td>
                                    </tr>
                                ))}
                            </Table>
                        )}
                    </Await>
                    {starting && <NewSession profile={id} onClose={() => setStarting(false)} />}
                </>
            )}
        </Await>
    );
}
