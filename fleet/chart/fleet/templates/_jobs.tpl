{{- define "fleet.jobs.labels" -}}
app.kubernetes.io/part-of: fleet
app.kubernetes.io/managed-by: fleet
{{- end }}

{{/* Annotations of an object that is there for the jobs only; "when" are helm's words, "weight" is the order. */}}
{{- define "fleet.jobs.hook" -}}
helm.sh/hook: {{ quote .when }}
helm.sh/hook-weight: {{ quote .weight }}
helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end }}

{{/* A job that runs `fleet server chart VERB`; "admin" names the Secret with an admin's token, where it needs one. */}}
{{- define "fleet.jobs.spec" -}}
backoffLimit: 3
# For the job and its retries: an image to pull, and a provider that may have to start.
activeDeadlineSeconds: 300
template:
  metadata:
    labels:
      {{- include "fleet.jobs.labels" . | nindent 6 }}
  spec:
    serviceAccountName: fleet-prepare
    enableServiceLinks: false
    restartPolicy: Never
    securityContext:
      {{- include "fleet.podSecurityContext" .root | nindent 6 }}
    {{- include "fleet.imagePullSecrets" .root | nindent 4 }}
    containers:
      - name: {{ .verb }}
        image: {{ include "fleet.image" .root | quote }}
        imagePullPolicy: {{ .root.Values.pullPolicy }}
        command: [fleet]
        args:
          - server
          - chart
          - {{ .verb }}
          - --values
          - /etc/fleet/values/values.json
          - --namespace
          - {{ .root.Release.Namespace | quote }}
          {{- if .admin }}
          - --admin-token-file
          - /etc/fleet/admin/token
          {{- end }}
        env:
          - name: HOME
            value: /tmp
        volumeMounts:
          - name: values
            mountPath: /etc/fleet/values
            readOnly: true
          - name: tmp
            mountPath: /tmp
          {{- if .admin }}
          - name: admin
            mountPath: /etc/fleet/admin
            readOnly: true
          {{- end }}
        resources:
          requests: {cpu: 50m, memory: 128Mi}
          limits: {cpu: "1", memory: 256Mi}
        securityContext:
          {{- include "fleet.containerSecurityContext" .root | nindent 10 }}
        terminationMessagePolicy: FallbackToLogsOnError
    volumes:
      - name: values
        configMap:
          name: fleet-prepare
      - name: tmp
        emptyDir:
          sizeLimit: 64Mi
      {{- if .admin }}
      - name: admin
        secret:
          secretName: {{ quote .admin }}
          defaultMode: 0440
      {{- end }}
{{- end }}
